"""Training runs: files, losses, interruption and refusals."""

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from safetensors.torch import load_file  # noqa: E402

from edgevpr.artifacts.features import Features  # noqa: E402
from edgevpr.cli.main import main  # noqa: E402
from edgevpr.data.left_out import LeftOut  # noqa: E402
from edgevpr.errors import DataError, NumericsError, UsageError  # noqa: E402
from edgevpr.train.evaluate.evaluate import evaluate  # noqa: E402
from edgevpr.train.fit import fit  # noqa: E402
from edgevpr.train.losses.arguments import QUERY_LOSSES  # noqa: E402
from edgevpr.train.networks.model import load_model  # noqa: E402
from edgevpr.train.record import TrainingStep  # noqa: E402

from .runs import gallery_config, query_config  # noqa: E402


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


def test_resume_is_bit_identical(tiny: Path, trained: Path, tmp_path: Path) -> None:
    """Optimizer, schedule, data order and statistics survive an interruption."""

    class Stop(Exception):
        pass

    def stop_in_second_epoch(step: TrainingStep) -> None:
        if step.epoch == 1:
            raise Stop

    out = tmp_path / "query"
    config = query_config(tiny, trained)
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

    config = query_config(tiny, trained)
    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path / "query", on_step=stop)
    with pytest.raises(UsageError, match="other settings"):
        fit(dataclasses.replace(config, lr=1e-4, min_lr=0.0), tmp_path / "query", resume=True)


def test_worker_processes_change_nothing(tiny: Path, trained: Path, tmp_path: Path) -> None:
    """Augmentation does not depend on the number of workers."""
    fit(query_config(tiny, trained, workers=2, epochs=1), tmp_path / "two")
    fit(query_config(tiny, trained, workers=0, epochs=1), tmp_path / "none")
    two, none = (load_file(tmp_path / n / "weights.safetensors") for n in ("two", "none"))
    assert all(torch.equal(two[name], none[name]) for name in two)


def test_features_of_other_images_are_refused(tiny: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="edgevpr embed"):
        fit(query_config(tiny, trained, images=tiny / "val" / "database"), tmp_path / "x")


@pytest.mark.parametrize("loss", [name for name in QUERY_LOSSES if name != "implicit"])
def test_every_query_loss_trains(tiny: Path, trained: Path, tmp_path: Path, loss: str) -> None:
    arguments = {"top_k": 8} if loss in ("csd", "rop", "msp", "d3still") else {}
    config = query_config(tiny, trained, loss=loss, loss_args=arguments, epochs=6)
    losses: list[float] = []
    record = fit(config, tmp_path / loss, on_step=lambda step: losses.append(step.loss))
    if loss != "queue":  # its first steps have nothing to contrast with
        assert np.mean(losses[-4:]) < np.mean(losses[:4])
    assert record["final_loss"] == pytest.approx(np.mean(losses[-20:]))
    assert [p.name for p in tmp_path.iterdir()] == [loss]  # neighbours and checkpoints are gone


@pytest.mark.parametrize("loss", ["supcon", "crls"])
def test_every_gallery_loss_trains(tiny: Path, tmp_path: Path, loss: str) -> None:
    losses: list[float] = []
    config = gallery_config(tiny, loss=loss, epochs=8)
    fit(config, tmp_path / loss, on_step=lambda step: losses.append(step.loss))
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_tensorboard_gets_loss_rate_and_recall(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(gallery_config(tiny), tmp_path / "model", tensorboard=tmp_path / "logs" / "run")
    events = EventAccumulator(str(tmp_path / "logs" / "run"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"loss_step", "loss_epoch", "validation_r1"} <= tags
    assert any(tag.startswith("lr") for tag in tags)
    assert len(events.Scalars("validation_r1")) == 3


def test_a_loss_that_diverges_is_named(tiny: Path, tmp_path: Path) -> None:
    """The run ends with advice, and no model is written."""
    config = gallery_config(tiny, lr=1e9, epochs=2)
    with pytest.raises(NumericsError, match="lower `lr`"):
        fit(config, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_images_do_not_end_a_training(tiny: Path, tmp_path: Path, workers: int) -> None:
    """They are named once, in the record too; without a list for them they are errors."""
    images = tmp_path / "images"
    shutil.copytree(tiny / "train", images)
    (images / "001_2.png").write_bytes(b"")
    (images / "003_0.png").write_bytes((images / "003_0.png").read_bytes()[:-40])
    config = gallery_config(tiny, images=images, epochs=4, workers=workers)
    left_out: list[LeftOut] = []
    record = fit(config, tmp_path / "model", left_out=left_out)
    named = ["001_2.png: an empty file", "003_0.png: not a complete image"]
    assert [str(item) for item in left_out] == named == record["left_out"]
    assert np.isfinite(record["final_loss"])
    with pytest.raises(DataError, match=r"^found no readable image in [^\n]*$"):
        fit(config, tmp_path / "strict")
    assert not (tmp_path / "strict").exists()


def test_an_interrupted_training_says_what_it_keeps(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, and the way on: --resume where an epoch is finished, the same command else."""

    def interrupted(config: object, out: Path, **_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgevpr.train.fit.fit", interrupted)
    words = ["edgevpr", "train", str(tiny / "train"), "-o", str(tmp_path / "model")]
    monkeypatch.setattr(sys, "argv", words)
    for kept, says in ((False, "no output is half-written"), (True, "with --resume")):
        if kept:
            (tmp_path / ".model.checkpoint").mkdir()
            (tmp_path / ".model.checkpoint" / "last.ckpt").touch()
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 130
        err = capsys.readouterr().err
        assert err.count("interrupted") == 1
        assert err.splitlines()[-1].startswith("edgevpr: interrupted: ")
        assert says in err
