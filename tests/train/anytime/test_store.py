"""Files of networks with exits and of codebooks."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from safetensors.torch import save_file  # noqa: E402

from edgevpr.artifacts.folder import open_artifact, seal  # noqa: E402
from edgevpr.artifacts.manifest import write_json  # noqa: E402
from edgevpr.artifacts.records import CodebookRecord, ModelRecord  # noqa: E402
from edgevpr.errors import (  # noqa: E402
    ArtifactError,
    CorruptArtifactError,
    NumericsError,
    UsageError,
)
from edgevpr.preprocess import Preprocess  # noqa: E402
from edgevpr.train.anytime.anytime_network import AnytimeNetwork, ExitSpec  # noqa: E402
from edgevpr.train.anytime.codebook import Codebook  # noqa: E402
from edgevpr.train.anytime.exit_cost import exit_costs  # noqa: E402
from edgevpr.train.anytime.store import (  # noqa: E402
    load_anytime,
    load_codebook,
    save_anytime,
    save_codebook,
)
from edgevpr.train.networks.model import load_model, save_model  # noqa: E402

from .test_segments import build  # noqa: E402

SIZE = (64, 96)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A gallery model without exits."""
    out = tmp_path / "model"
    arguments = {"num_clusters": 4, "cluster_dim": 8, "token_dim": 16}
    network = build("resnet10t", aggregator="salad", aggregator_args=arguments)
    save_model(
        out, network, role="gallery", preprocess=Preprocess(*SIZE), training={}, config={"a": 1}
    )
    return out


def with_exits(model: Path) -> AnytimeNetwork:
    network, _, _ = load_model(model)
    torch.manual_seed(2)
    specs = [ExitSpec("2.0"), ExitSpec("3.0", "regression", "attention")]
    return AnytimeNetwork(network, specs, Codebook(4, 8, 512), SIZE)


@pytest.fixture
def saved(model: Path, tmp_path: Path) -> tuple[Path, AnytimeNetwork]:
    anytime = with_exits(model)
    out = tmp_path / "anytime"
    save_anytime(
        out,
        anytime,
        source=model,
        training={"epochs": 2},
        config={"exits": "2.0,3.0"},
        codebook_digest="0" * 64,
        validation_r1={"2.0": 81.5},
    )
    return out, anytime


def test_round_trip(saved: tuple[Path, AnytimeNetwork]) -> None:
    """Every exit answers as before, to the bit; the record says what they cost."""
    path, anytime = saved
    loaded, record, _ = load_anytime(path)
    assert not any(module.training for module in loaded.modules())
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        for name in ("2.0", "3.0", "full"):
            assert torch.equal(loaded(images, name), anytime.eval()(images, name))
    assert [(e.name, e.method, e.adapter) for e in record.exits] == [
        ("2.0", "composition", "mlp"),
        ("3.0", "regression", "attention"),
    ]
    costs = exit_costs(anytime)
    for each in record.exits:
        assert each.multiply_adds_g == pytest.approx(costs[each.name].multiply_adds_g, abs=1e-4)
        assert each.share == pytest.approx(costs[each.name].share, abs=1e-4)
    assert [e.validation_r1 for e in record.exits] == [81.5, None]
    assert record.training == {"epochs": 2}


def test_it_is_the_model_it_was_made_from(saved: tuple[Path, AnytimeNetwork], model: Path) -> None:
    """Space, role, weights and descriptors are the model's: nothing is indexed again."""
    path, _ = saved
    network, record, opened = load_model(path)
    first, before, source = load_model(model)
    assert opened.space == source.space
    assert record.role == before.role == "gallery"
    name = "weights.safetensors"
    assert opened.manifest.files[name] == source.manifest.files[name]
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        assert torch.equal(network(images), first(images))
    assert record.anytime["made_from"] == source.digest


def test_the_whole_path_is_load_model_s_to_the_bit(tmp_path: Path) -> None:
    """BoQ's kernels depend on whether its parameters take gradients: they must be the same."""
    arguments = {"proj_channels": 64, "num_queries": 8, "row_dim": 4}
    network = build("resnet10t", aggregator_args=arguments, aggregator="boq")
    model, out = tmp_path / "model", tmp_path / "anytime"
    save_model(out=model, network=network, role="gallery", preprocess=Preprocess(*SIZE),
               training={}, config={})  # fmt: skip
    anytime = AnytimeNetwork(network, [ExitSpec("2.0", "regression")], None, SIZE)
    save_anytime(out, anytime, source=model, training={}, config={})
    images = torch.randn(3, 3, *SIZE)
    with torch.no_grad():
        assert torch.equal(load_anytime(out)[0](images), load_model(model)[0](images))


def test_exits_of_a_model_with_exits_are_replaced(
    saved: tuple[Path, AnytimeNetwork], tmp_path: Path
) -> None:
    """Exits trained again start from the model, whatever exits it had."""
    path, _ = saved
    network, _, source = load_model(path)
    again = AnytimeNetwork(network, [ExitSpec("1.0", "regression")], None, SIZE)
    save_anytime(tmp_path / "again", again, source=path, training={}, config={})
    loaded, _, opened = load_anytime(tmp_path / "again")
    assert (loaded.exits, loaded.codebook, opened.space) == (("1.0",), None, source.space)


def test_verbs_read_the_full_network(
    saved: tuple[Path, AnytimeNetwork], model: Path, tiny: Path, tmp_path: Path
) -> None:
    """Embedding and export take a model with exits as they take the plain one."""
    from edgevpr.artifacts.features import Features
    from edgevpr.train.embed.embed import embed
    from edgevpr.train.networks.export import export_onnx

    path, _ = saved
    found = []
    for name in (model, path):
        embed(name, tiny / "val" / "queries", tmp_path / f"{name.name}-features", workers=0)
        found.append(Features(tmp_path / f"{name.name}-features"))
    assert found[0].space == found[1].space
    assert np.array_equal(found[0].descriptors, found[1].descriptors)
    assert export_onnx(path, tmp_path / "full.onnx") < 1e-5


def test_damaged_exits_are_found(saved: tuple[Path, AnytimeNetwork]) -> None:
    """A byte of the adapters is as good as a byte of the weights."""
    path, _ = saved
    file = path / "exits.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    for opener in (load_anytime, load_model):
        with pytest.raises(CorruptArtifactError, match=r"exits\.safetensors has changed"):
            opener(path)
    with pytest.raises(CorruptArtifactError, match=r"exits\.safetensors has changed"):
        load_anytime(path, verify=False)
    load_model(path, verify=False)
    file.unlink()
    with pytest.raises(CorruptArtifactError, match=r"no exits\.safetensors"):
        load_anytime(path)


def rewrite(path: Path, name: str, kind: type[Any], **changes: Any) -> None:
    """Change a record and seal the artifact again, as its writer could have."""
    opened = open_artifact(path, "model" if kind is ModelRecord else "codebook")
    record = msgspec.structs.replace(opened.read(name, kind), **changes)
    (path / "manifest.json").unlink()
    write_json(path / name, record)
    seal(path, opened.manifest.kind, opened.manifest.space)


def exits_of(path: Path, **changes: Any) -> list[Any]:
    record = open_artifact(path, "model").read("model.json", ModelRecord)
    return [msgspec.structs.replace(record.exits[0], **changes), *record.exits[1:]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "full"}, "an early exit named 'full'"),
        ({"name": "a b"}, "an early exit named 'a b'"),
        ({"name": "3.0"}, "found the exits 3.0, 3.0"),
        ({"share": -0.5}, "share of exit 2.0 -0.5"),
        ({"multiply_adds_g": -1.0}, "multiply_adds_g of exit 2.0"),
        ({"name": "9.0"}, "found exits in .* that do not fit its network"),
        ({"name": "3.1"}, "do not fit its network"),
        ({"name": "1.0"}, "do not fit its records"),
        ({"adapter": "attention"}, "do not fit its records"),
    ],
)
def test_contract_of_exits(
    saved: tuple[Path, AnytimeNetwork], changes: dict[str, Any], words: str
) -> None:
    """Records that contradict the network or each other are one sentence, not a stack trace."""
    path, _ = saved
    try:
        rewrite(path, "model.json", ModelRecord, exits=exits_of(path, **changes))
    except CorruptArtifactError:
        pytest.fail("the artifact was damaged before it was changed")
    with pytest.raises(CorruptArtifactError, match=words):
        load_anytime(path)


@pytest.mark.parametrize(
    "shape",
    [
        {"heads": 4, "size": 1 << 40, "dim": 512, "class_token": False},
        {"heads": 4, "size": 8, "dim": -512, "class_token": False},
        {"heads": 0, "size": 8, "dim": 512, "class_token": False},
        {"heads": 4, "size": "many", "dim": 512, "class_token": False},
        {"heads": 4},
        {"heads": 4, "size": 8, "dim": 512, "class_token": True},
        None,
    ],
)
def test_codebooks_that_cannot_be(saved: tuple[Path, AnytimeNetwork], shape: object) -> None:
    """No record makes room for more prototypes than the file holds."""
    path, _ = saved
    rewrite(path, "model.json", ModelRecord, anytime={"codebook": shape})
    with pytest.raises(CorruptArtifactError, match="do not fit its network"):
        load_anytime(path)


def test_exits_and_their_file_belong_together(
    saved: tuple[Path, AnytimeNetwork], model: Path
) -> None:
    """One without the other is a half-copied model."""
    path, _ = saved
    with pytest.raises(ArtifactError, match=r"found no early exits in .*: train them with"):
        load_anytime(model)
    rewrite(path, "model.json", ModelRecord, exits=[])
    with pytest.raises(CorruptArtifactError, match="without exits in"):
        load_model(path)


def test_another_network_s_weights_are_refused(model: Path, tmp_path: Path) -> None:
    """Exits of a network that was trained on would be saved beside weights they do not fit."""
    anytime = with_exits(model)
    with torch.no_grad():
        anytime.network.aggregator.dust_bin.add_(1)
    with pytest.raises(UsageError, match="other weights than"):
        save_anytime(tmp_path / "out", anytime, source=model, training={}, config={})
    assert not (tmp_path / "out").exists()


def test_numbers_that_are_none_are_refused(model: Path, tmp_path: Path) -> None:
    """A run that diverged writes nothing."""
    anytime = with_exits(model)
    with torch.no_grad():
        next(anytime.adapters.parameters()).fill_(float("nan"))
    with pytest.raises(NumericsError, match="found NaN or infinite values in adapters"):
        save_anytime(tmp_path / "out", anytime, source=model, training={}, config={})
    assert not (tmp_path / "out").exists()


@pytest.fixture
def book(model: Path, tmp_path: Path) -> tuple[Path, Codebook]:
    torch.manual_seed(3)
    codebook = Codebook(4, 8, 512, class_token=True)
    opened = open_artifact(model, "model")
    out = tmp_path / "book"
    save_codebook(
        out, codebook, model=opened, init="learned", training={"steps": 3}, config={"heads": 4}
    )
    return out, codebook


def test_codebook_round_trip(book: tuple[Path, Codebook], model: Path) -> None:
    """Prototypes and temperatures of both books, and what they were learned on."""
    path, codebook = book
    source = open_artifact(model, "model")
    loaded, record, opened = load_codebook(path, model=source)
    assert loaded.state_dict().keys() == codebook.state_dict().keys()
    for name, value in codebook.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert (record.heads, record.size, record.dim, record.class_token) == (4, 8, 512, True)
    assert (record.init, record.model_digest) == ("learned", source.digest)
    assert opened.space == source.space


def test_codebook_of_another_model(
    book: tuple[Path, Codebook], saved: tuple[Path, AnytimeNetwork]
) -> None:
    """Its prototypes are tokens of a network that is not this one."""
    path, _ = book
    other = open_artifact(saved[0], "model")
    with pytest.raises(ArtifactError, match=r"a codebook of the model .*: run edgevpr codebook"):
        load_codebook(path, model=other)
    assert load_codebook(path)[0].size == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": 3}, "heads 3 in .*, expected a divisor of dim 512"),
        ({"heads": 0}, "heads 0"),
        ({"size": 1 << 40}, "size 1.09951e"),
        ({"dim": 1 << 40}, "dim 1.09951e"),
        ({"size": 4}, "do not fit its records"),
        ({"class_token": False}, "do not fit its records"),
    ],
)
def test_contract_of_codebooks(
    book: tuple[Path, Codebook], changes: dict[str, Any], words: str
) -> None:
    """Records that contradict the file are one sentence."""
    path, _ = book
    rewrite(path, "codebook.json", CodebookRecord, **changes)
    with pytest.raises(CorruptArtifactError, match=words):
        load_codebook(path)


def test_a_codebook_with_other_tensors(book: tuple[Path, Codebook]) -> None:
    """Sealed well, but written by something else."""
    path, _ = book
    opened = open_artifact(path, "codebook")
    (path / "manifest.json").unlink()
    save_file({"other": torch.zeros(1 << 14)}, path / "codebook.safetensors")
    seal(path, "codebook", opened.manifest.space)
    with pytest.raises(CorruptArtifactError, match=r"found tensors in .* that do not fit"):
        load_codebook(path)
