"""Training, embedding, evaluation and export through their public functions."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from safetensors.torch import load_file, save_file  # noqa: E402

import edgevpr.train.embed.embed as describing  # noqa: E402
from edgevpr.artifacts.features import Features  # noqa: E402
from edgevpr.errors import DataError, NumericsError, SpaceMismatchError, UsageError  # noqa: E402
from edgevpr.train.config import TrainConfig  # noqa: E402
from edgevpr.train.embed.embed import embed  # noqa: E402
from edgevpr.train.evaluate.evaluate import evaluate, save_descriptors  # noqa: E402
from edgevpr.train.evaluate.sheet import save_sheet  # noqa: E402
from edgevpr.train.fit import fit  # noqa: E402
from edgevpr.train.losses.arguments import QUERY_LOSSES  # noqa: E402
from edgevpr.train.networks.architecture import Architecture  # noqa: E402
from edgevpr.train.networks.export import export_onnx  # noqa: E402
from edgevpr.train.networks.model import copy_aggregator, load_model, start_from  # noqa: E402
from edgevpr.train.networks.network import Network  # noqa: E402
from edgevpr.train.record import TrainingStep  # noqa: E402

T = TypeVar("T")
BOQ = {"proj_channels": 64, "num_queries": 4, "num_layers": 1, "row_dim": 2}


def _gallery_config(tiny: Path, **changes: object) -> TrainConfig:
    config = TrainConfig(
        images=tiny / "train",
        architecture=Architecture("resnet10t", 2, aggregator_args=BOQ),
        validation=tiny / "val",
        image_size=64,
        epochs=3,
        batch_size=8,
        images_per_place=2,
        precision="fp32",
        workers=0,
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gallery/, query/, features/ (training images), database/ (validation gallery)."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("trained")
    fit(_gallery_config(tiny), out / "gallery")
    embed(out / "gallery", tiny / "train", out / "features", workers=0)
    embed(out / "gallery", tiny / "val" / "database", out / "database", workers=0)
    fit(_query_config(tiny, out), out / "query")
    return out


def _query_config(tiny: Path, out: Path, **changes: object) -> TrainConfig:
    return _gallery_config(
        tiny,
        architecture=Architecture("resnet10t", 1, aggregator_args=BOQ),
        features=out / "features",
        validation_features=out / "database",
        **changes,
    )


def test_the_chain_of_files(tiny: Path, trained: Path) -> None:
    """The query network and the features are in the gallery network's space."""
    _, gallery, gallery_artifact = load_model(trained / "gallery")
    _, query, query_artifact = load_model(trained / "query")
    features = Features(trained / "features")
    assert gallery.role == "gallery"
    assert query.role == "query"
    assert query_artifact.space == gallery_artifact.space == features.space
    assert features.descriptors.dtype == np.float16
    norms = np.linalg.norm(features.descriptors.astype(np.float32), axis=1)
    np.testing.assert_allclose(norms, 1, atol=2e-3)
    assert set(query.training["validation_r1"]) == {"1", "2", "3"}
    symmetric = evaluate(trained / "gallery", tiny / "val").recall
    answered = evaluate(trained / "query", tiny / "val", features=trained / "database")
    asymmetric = answered.recall
    assert symmetric.queries == asymmetric.queries == 12
    # A random guess is 1 in 6; the recorded score of the last epoch is this very evaluation's.
    assert asymmetric.at[1] == pytest.approx(query.training["validation_r1"]["3"])


def test_what_an_evaluation_leaves(tiny: Path, trained: Path, tmp_path: Path) -> None:
    """The per-query file and the picture agree with the recall."""
    done = evaluate(trained / "query", tiny / "val", features=trained / "database")
    rows = list(csv.DictReader(io.StringIO(done.to_csv())))
    right = sum(int(row["correct"]) for row in rows)
    assert 100 * right / len(rows) == pytest.approx(done.recall.at[1])
    for row in rows:
        assert (row["first_positive_rank"] == "1") == (row["correct"] == "1")
        assert (tiny / "val" / row["answer"]).is_file()
    save_sheet(done, tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    frames = [tuple(int(c) for c in sheet[2 + 144 * i, 2][::-1]) for i in range(8)]
    assert frames.count((70, 110, 200)) == min(8, len(rows) - right)
    save_descriptors(done, tmp_path / "d")
    assert np.load(tmp_path / "d" / "queries.npy").shape == done.query_descriptors.shape
    with pytest.raises(UsageError, match=r"\.jpg or \.png"):
        save_sheet(done, tmp_path / "sheet.txt")


def test_embed_in_parts_is_embed(tiny: Path, trained: Path, tmp_path: Path) -> None:
    """Parts in any order give the same features, once all of them are there."""
    out = tmp_path / "features"
    for part in (2, 0, 1):
        assert not out.exists()
        made = embed(trained / "gallery", tiny / "train", out, workers=0, shard=(part, 3))
    assert made is not None
    whole, parts = Features(trained / "features"), Features(out)
    np.testing.assert_allclose(
        np.asarray(parts.descriptors, np.float32), np.asarray(whole.descriptors, np.float32),
        atol=2e-3,
    )  # fmt: skip
    assert parts.space == whole.space
    assert [p.name for p in tmp_path.iterdir()] == ["features"]


def test_embed_goes_on_where_it_stopped(
    tiny: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describing, "_NOTE_EVERY", 8)
    out = tmp_path / "features"

    def stopping(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        for i, item in enumerate(items):
            if i == 3:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        embed(trained / "gallery", tiny / "train", out, workers=0, batch_size=8, track=stopping)
    assert not out.exists()
    batches: list[int] = []

    def counting(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        for item in items:
            batches.append(1)
            yield item

    embed(trained / "gallery", tiny / "train", out, workers=0, batch_size=8, track=counting)
    assert len(batches) == 1  # of four
    np.testing.assert_allclose(
        np.asarray(Features(out).descriptors, np.float32),
        np.asarray(Features(trained / "features").descriptors, np.float32),
        atol=2e-3,
    )


def test_resume_is_bit_identical(tiny: Path, trained: Path, tmp_path: Path) -> None:
    """Optimizer, schedule, data order and statistics survive an interruption."""

    class Stop(Exception):
        pass

    def stop_in_second_epoch(step: TrainingStep) -> None:
        if step.epoch == 1:
            raise Stop

    out = tmp_path / "query"
    config = _query_config(tiny, trained)
    with pytest.raises(Stop):
        fit(config, out, on_step=stop_in_second_epoch)
    assert not out.exists()
    seen: list[int] = []
    fit(config, out, resume=True, on_step=lambda step: seen.append(step.epoch))
    assert set(seen) == {1, 2}
    expected = load_file(trained / "query" / "weights.safetensors")
    found = load_file(out / "weights.safetensors")
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
    assert (out / "metrics.csv").read_text() == (trained / "query" / "metrics.csv").read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["query"]


def test_resume_with_other_settings_is_refused(tiny: Path, trained: Path, tmp_path: Path) -> None:

    def stop(step: TrainingStep) -> None:
        if step.epoch == 1:
            raise KeyboardInterrupt

    config = _query_config(tiny, trained)
    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path / "query", on_step=stop)
    with pytest.raises(UsageError, match="other settings"):
        fit(dataclasses.replace(config, lr=1e-4, min_lr=0.0), tmp_path / "query", resume=True)


def test_worker_processes_change_nothing(tiny: Path, trained: Path, tmp_path: Path) -> None:
    """Augmentation does not depend on the number of workers."""
    fit(_query_config(tiny, trained, workers=2, epochs=1), tmp_path / "two")
    fit(_query_config(tiny, trained, workers=0, epochs=1), tmp_path / "none")
    two, none = (load_file(tmp_path / n / "weights.safetensors") for n in ("two", "none"))
    assert all(torch.equal(two[name], none[name]) for name in two)


def test_features_of_other_images_are_refused(tiny: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="edgevpr embed"):
        fit(_query_config(tiny, trained, images=tiny / "val" / "database"), tmp_path / "x")


def test_evaluate_refuses_another_space(tiny: Path, trained: Path, tmp_path: Path) -> None:
    fit(_gallery_config(tiny, epochs=1, seed=5), tmp_path / "other")
    embed(tmp_path / "other", tiny / "val" / "database", tmp_path / "features", workers=0)
    with pytest.raises(SpaceMismatchError):
        evaluate(trained / "query", tiny / "val", features=tmp_path / "features")
    with pytest.raises(UsageError, match="pass `features`"):
        evaluate(trained / "query", tiny / "val")


def test_export_matches_torch(trained: Path, tmp_path: Path) -> None:
    """The graph takes uint8 images and gives torch's descriptors."""
    import onnxruntime

    difference = export_onnx(trained / "query", tmp_path / "query.onnx")
    assert difference < 1e-5  # measured 2e-7
    session = onnxruntime.InferenceSession(str(tmp_path / "query.onnx"))
    (entry,) = session.get_inputs()
    assert (entry.name, entry.shape, entry.type) == ("images", [1, 64, 64, 3], "tensor(uint8)")
    assert session.get_outputs()[0].shape == [1, 128]


def test_aggregator_from_the_gallery_network(tiny: Path, trained: Path, tmp_path: Path) -> None:
    """All tensors of the same shape are copied, the others stay."""
    gallery, _, _ = load_model(trained / "gallery")
    config = _query_config(tiny, trained)
    network = Network(config.architecture)
    fresh = network.aggregator.proj_c.weight.clone()
    assert copy_aggregator(trained / "gallery", network) == len(gallery.aggregator.state_dict()) - 1
    assert torch.equal(network.aggregator.fc.weight, gallery.aggregator.fc.weight)
    assert torch.equal(network.aggregator.proj_c.weight, fresh)
    other = Network(Architecture("resnet10t", 1, aggregator_args=BOQ | {"num_queries": 8}))
    with pytest.raises(UsageError, match="`aggregator_args`"):
        copy_aggregator(trained / "gallery", other)


@pytest.mark.parametrize("loss", [name for name in QUERY_LOSSES if name != "implicit"])
def test_every_query_loss_trains(tiny: Path, trained: Path, tmp_path: Path, loss: str) -> None:
    arguments = {"top_k": 8} if loss in ("csd", "rop", "msp", "d3still") else {}
    config = _query_config(tiny, trained, loss=loss, loss_args=arguments, epochs=6)
    losses: list[float] = []
    record = fit(config, tmp_path / loss, on_step=lambda step: losses.append(step.loss))
    if loss != "queue":  # its first steps have nothing to contrast with
        assert np.mean(losses[-4:]) < np.mean(losses[:4])
    assert record["final_loss"] == pytest.approx(np.mean(losses[-20:]))
    assert [p.name for p in tmp_path.iterdir()] == [loss]  # neighbours and checkpoints are gone


@pytest.mark.parametrize("loss", ["supcon", "crls"])
def test_every_gallery_loss_trains(tiny: Path, tmp_path: Path, loss: str) -> None:
    losses: list[float] = []
    config = _gallery_config(tiny, loss=loss, epochs=8)
    fit(config, tmp_path / loss, on_step=lambda step: losses.append(step.loss))
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_losses_of_the_other_role_are_refused(tiny: Path) -> None:
    with pytest.raises(UsageError, match=r"found `loss` csd, expected .* for a gallery network"):
        _gallery_config(tiny, loss="csd")
    with pytest.raises(UsageError, match=r"the loss d3still takes \(top_k"):
        _query_config(tiny, tiny, loss="d3still", loss_args={"topk": 3})


def test_starting_from_a_whole_network(tiny: Path, trained: Path, tmp_path: Path) -> None:
    """Every tensor is filled, and a file of another network is refused."""
    weights = tmp_path / "half.safetensors"
    state = load_file(trained / "gallery" / "weights.safetensors")
    save_file({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, weights)
    network = Network(_gallery_config(tiny).architecture)
    start_from(weights, network)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, state[name], atol=1e-3, rtol=1e-3)
    with pytest.raises(DataError, match="found no weights of this network"):
        start_from(weights, Network(Architecture("resnet10t", 1, aggregator_args=BOQ)))


def test_sizes_a_network_cannot_work_on() -> None:
    """The message names a size that works."""
    with pytest.raises(UsageError, match=r"7 x 7 = 49 patches.*`image_size` 288"):
        Network(Architecture("efficientvit_b2", aggregator="salad"), (224, 224))
    with pytest.raises(UsageError, match="322 x 322"):
        Network(Architecture("dinov2_vits14", aggregator="gem"), (320, 320))
    with pytest.raises(UsageError, match="unexpected keyword"):
        Network(Architecture("resnet10t", aggregator="gem", aggregator_args={"q": 1}))


def test_tensorboard_gets_loss_rate_and_recall(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(_gallery_config(tiny), tmp_path / "model", tensorboard=tmp_path / "logs" / "run")
    events = EventAccumulator(str(tmp_path / "logs" / "run"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"loss_step", "loss_epoch", "validation_r1"} <= tags
    assert any(tag.startswith("lr") for tag in tags)
    assert len(events.Scalars("validation_r1")) == 3


def test_a_loss_that_diverges_is_named(tiny: Path, tmp_path: Path) -> None:
    """The run ends with advice, and no model is written."""
    config = _gallery_config(tiny, lr=1e9, epochs=2)
    with pytest.raises(NumericsError, match="lower `lr`"):
        fit(config, tmp_path / "model")
    assert not (tmp_path / "model").exists()
