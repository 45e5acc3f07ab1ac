"""Descriptors through a real Ray cluster of two workers on this machine."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
ray = pytest.importorskip("ray", reason="pip install 'edgevpr[cluster]'")

from edgevpr.artifacts.features import Features  # noqa: E402
from edgevpr.artifacts.folder import open_artifact  # noqa: E402
from edgevpr.errors import DataError, TargetError  # noqa: E402
from edgevpr.places.table import ImageTable  # noqa: E402
from edgevpr.preprocess import Preprocess  # noqa: E402
from edgevpr.ray_cluster import connect, raising_plainly  # noqa: E402
from edgevpr.train.embed.embed import embed  # noqa: E402
from edgevpr.train.embed.embed_on_cluster import Describer, _note, embed_on_cluster  # noqa: E402
from edgevpr.train.embed.staging import open_staging, plan_of  # noqa: E402
from edgevpr.train.networks.architecture import Architecture  # noqa: E402
from edgevpr.train.networks.model import save_model  # noqa: E402
from edgevpr.train.networks.network import Network  # noqa: E402


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("cluster") / "model"
    network = Network(Architecture("resnet10t", 1, aggregator="gem"), (64, 64))
    save_model(out, network, role="gallery", preprocess=Preprocess(64, 64), training={}, config={})
    return out


@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_describes_as_one_process_does(model: Path, tiny: Path, tmp_path: Path) -> None:
    """Workers answer in any order; each row is its own image's descriptor."""
    embed(model, tiny / "train", tmp_path / "one", workers=0)
    record = embed_on_cluster(
        model, tiny / "train", tmp_path / "many", cluster="local", batch_size=5
    )
    one, many = Features(tmp_path / "one"), Features(tmp_path / "many")
    assert record.count == len(many.table) == 32
    assert many.table.paths == one.table.paths
    assert many.space == one.space
    np.testing.assert_allclose(
        np.asarray(many.descriptors, np.float32), np.asarray(one.descriptors, np.float32), atol=2e-3
    )
    assert not list(tmp_path.glob(".many*"))


@pytest.mark.usefixtures("ray_cluster")
def test_an_interrupted_run_goes_on(model: Path, tiny: Path, tmp_path: Path) -> None:
    """Rows noted as done are neither described again nor lost."""
    embed(model, tiny / "train", tmp_path / "one", workers=0)
    one = Features(tmp_path / "one")
    plan = plan_of(open_artifact(model, "model"), tiny / "train", one.table)
    descriptors = open_staging(tmp_path / ".f.cluster", plan)
    descriptors[:20] = one.descriptors[:20]
    done = np.arange(len(one.table)) < 20
    _note(tmp_path / ".f.cluster", descriptors, done)
    described: list[int] = []

    def watch(batches: Iterable[Any], _: str, total: int) -> Iterator[Any]:
        for batch in batches:
            described.extend(batch["row"].tolist())
            yield batch

    embed_on_cluster(
        model, tiny / "train", tmp_path / "f", cluster="local", batch_size=5, track=watch
    )
    assert sorted(described) == list(range(20, 32))
    found = np.asarray(Features(tmp_path / "f").descriptors, np.float32)
    np.testing.assert_allclose(found, np.asarray(one.descriptors, np.float32), atol=2e-3)


@pytest.mark.usefixtures("ray_cluster")
def test_what_a_worker_finds_wrong_is_one_sentence(model: Path, tmp_path: Path) -> None:
    """Ray's own error carries the worker's traceback, and no type of ours."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("0.png", "1.png"):
        cv2.imwrite(str(folder / name), np.zeros((64, 64, 3), np.uint8))
    (folder / "2.png").write_bytes(b"no image")
    ImageTable.build([f"{i}.png" for i in range(3)], place=[0, 0, 1]).save(folder / "images.csv")
    with pytest.raises(
        DataError, match=r"^found no readable image in \S*2\.png \(8 bytes\)[^\n]+$"
    ):
        embed_on_cluster(model, folder, tmp_path / "f", cluster="local")
    assert not (tmp_path / "f").exists()


@pytest.mark.usefixtures("ray_cluster")
def test_another_model_on_a_worker(model: Path, tiny: Path) -> None:
    """A model that differs on a worker is refused with an error of ours, not Ray's."""
    connect("local")
    blocks = ray.data.from_items([{"row": 0, "path": "a.jpg"}]).map_batches(
        Describer,
        fn_constructor_args=(str(model), str(tiny / "train"), "0" * 64, False),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=1),
    )
    with pytest.raises(DataError, match="found another model at"), raising_plainly():
        blocks.take_all()


def test_no_cluster_is_one_sentence(model: Path, tiny: Path, tmp_path: Path) -> None:
    """An address without a cluster is refused within seconds."""
    if ray.is_initialized():
        ray.shutdown()
    with pytest.raises(TargetError, match="pass `cluster` local"):
        embed_on_cluster(model, tiny / "train", tmp_path / "f", cluster="127.0.0.1:1")
