"""Published networks: their parameters, their checkpoints, and refusals without a connection."""

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from edgevpr.errors import DataError, UsageError  # noqa: E402
from edgevpr.train.networks import published  # noqa: E402
from edgevpr.train.networks.architecture import Architecture  # noqa: E402
from edgevpr.train.networks.cost import cost_of  # noqa: E402
from edgevpr.train.networks.model import load_model  # noqa: E402
from edgevpr.train.networks.network import Network  # noqa: E402
from edgevpr.train.networks.published import PUBLISHED, TABLE_2, Published, import_published  # noqa: E402

#: A network of the same kind as the published ones that is quick to build.
SMALL = Architecture(
    "dinov2_vits14",
    aggregator="boq",
    aggregator_args={"proj_channels": 64, "num_queries": 2, "num_layers": 1, "row_dim": 1},
)


@pytest.mark.parametrize(
    ("name", "keys"),
    [("boq-dinov2", "boq_dinov2_12288"), ("salad-dinov2", "salad_dinov2_8448")],
)
def test_state_dict_is_the_published_one(shared: Path, name: str, keys: str) -> None:
    """Published weights fill every parameter."""
    record = json.loads((shared / "parity" / f"{keys}.keys.json").read_text())
    with torch.device("meta"):
        network = Network(PUBLISHED[name].architecture)
    assert {k: list(v.shape) for k, v in network.state_dict().items()} == record["state_dict"]


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("efficientvit_b2+salad", 15.8),
        ("mobilevitv2_100+salad", 5.4),
        ("efficientvit_b2+boq", 22.3),
        ("mobilevitv2_100+boq", 12.1),
        ("dinov2_vitb14+salad", 88.0),
        ("dinov2_vitb14+boq", 95.2),
    ],
)
def test_parameters_are_table_2(name: str, millions: float) -> None:
    assert round(cost_of(TABLE_2[name]).parameters_m, 1) == millions


def test_multiply_adds_count_attention_and_convolutions() -> None:
    """Within a tenth of the paper's figures."""
    for name, paper in {
        "efficientvit_b2+boq": 4.4,
        "mobilevitv2_100+salad": 3.4,
        "dinov2_vitb14+boq": 54.2,
    }.items():
        assert cost_of(TABLE_2[name]).multiply_adds_g == pytest.approx(paper, rel=0.1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as authors publish it, in the folder that ``server`` serves."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("served") / "net.ckpt"
    torch.save({"state_dict": Network(SMALL).state_dict()}, path)
    return path


@pytest.fixture
def server(checkpoint: Path) -> Iterator[str]:
    """A real HTTP server on loopback."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(checkpoint.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}/{checkpoint.name}"
        http.shutdown()


@pytest.fixture
def small(
    server: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Published:
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    about = Published(SMALL, server, digest, "")
    monkeypatch.setitem(published.PUBLISHED, "small", about)
    monkeypatch.setenv("EDGEVPR_CACHE", str(tmp_path / "cache"))
    return about


def test_fetched_once_and_checked(small: Published, tmp_path: Path, checkpoint: Path) -> None:
    """A second import takes the file from the cache; weights are those of the file."""
    import_published("small", tmp_path / "a")
    cached = tmp_path / "cache" / "net.ckpt"
    first = cached.stat().st_mtime_ns
    import_published("small", tmp_path / "b")
    assert cached.stat().st_mtime_ns == first
    network, record, opened = load_model(tmp_path / "b")
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, state[name])
    assert record.role == "gallery"
    assert opened.space is not None
    assert record.training["sha256"] == small.sha256


def test_another_digest_is_refused_and_nothing_is_kept(small: Published, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected 00ff"):
        import_published("small", tmp_path / "a", sha256="00ff")
    assert list((tmp_path / "cache").iterdir()) == []
    import_published("small", tmp_path / "a")
    with (tmp_path / "cache" / "net.ckpt").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match="remove it to fetch it again"):
        import_published("small", tmp_path / "a")


def test_offline_says_where_to_put_the_file(
    small: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without network, one sentence says where to put the file."""
    gone = Published(SMALL, "http://127.0.0.1:9/net2.ckpt", "0", "")
    monkeypatch.setitem(published.PUBLISHED, "small", gone)
    with pytest.raises(DataError, match=r"`checkpoint`, or put it at .*net2\.ckpt"):
        import_published("small", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_weights_of_another_network(checkpoint: Path, tmp_path: Path, small: Published) -> None:
    """Other tensors are refused as a whole, and a pickle is not run."""
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    state.pop("aggregator.fc.weight")
    other = tmp_path / "other.pth"
    torch.save(state, other)
    with pytest.raises(DataError, match=r"1 tensors missing.*aggregator\.fc\.weight"):
        import_published("small", tmp_path / "a", checkpoint=other)
    torch.save({"state_dict": Path}, other)
    with pytest.raises(DataError, match="no checkpoint of tensors alone"):
        import_published("small", tmp_path / "a", checkpoint=other)
    with pytest.raises(DataError, match="found nothing"):
        import_published("small", tmp_path / "a", checkpoint=tmp_path / "none")
    with pytest.raises(UsageError, match="boq-dinov2"):
        import_published("big", tmp_path / "a")
