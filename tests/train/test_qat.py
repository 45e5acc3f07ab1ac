"""INT8 rounding in the forward pass of a network that is finetuned for it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from safetensors.torch import load_file  # noqa: E402

from edgevpr.errors import UsageError  # noqa: E402
from edgevpr.preprocess import Preprocess  # noqa: E402
from edgevpr.train.config import TrainConfig  # noqa: E402
from edgevpr.train.embed.embed import embed  # noqa: E402
from edgevpr.train.fit import fit  # noqa: E402
from edgevpr.train.networks.architecture import Architecture  # noqa: E402
from edgevpr.train.networks.export import export_onnx  # noqa: E402
from edgevpr.train.networks.model import load_model, save_model  # noqa: E402
from edgevpr.train.networks.network import Network  # noqa: E402
from edgevpr.train.qat import RoundedInput, RoundedWeight, int8_modules, rounded_to_int8  # noqa: E402
from edgevpr.train.record import TrainingStep  # noqa: E402

BOQ = {"proj_channels": 64, "num_queries": 4, "num_layers": 1, "row_dim": 2}
ARCHITECTURE = Architecture("resnet10t", 2, aggregator_args=BOQ)


def test_weights_are_rounded_per_channel() -> None:
    """Against float64: a shared scale would lose the small channel entirely."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, 4, 3, 3)) * np.array([1.0, 1e-3, 50.0]).reshape(-1, 1, 1, 1)
    scale = np.abs(weight).reshape(3, -1).max(1).reshape(-1, 1, 1, 1) / 127
    expected = np.round(weight / scale) * scale
    found = RoundedWeight()(torch.tensor(weight, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


def test_rounding_before_batch_norm_is_rounding_after() -> None:
    """Folding multiplies each output channel; engines round what comes out of that."""
    weight = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    fold = torch.tensor([0.5, 2.0, 1.0, 30.0, 0.01])[:, None]
    rounded = RoundedWeight()
    torch.testing.assert_close(rounded(weight * fold), rounded(weight) * fold)


def test_gradients_pass_rounding_and_stop_at_the_range() -> None:
    """A gradient of zero everywhere, which rounding has, would train nothing."""
    rounded = RoundedInput()
    rounded(torch.tensor([1.0, -2.0]))  # the range becomes 2
    rounded.eval()
    x = torch.tensor([0.3, -1.9, 5.0], requires_grad=True)
    y = rounded(x)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0, 0.0]
    torch.testing.assert_close(y[0], torch.round(torch.tensor(0.3 * 127 / 2)) * 2 / 127)


def test_the_layers_are_those_that_compile_quantizes(tmp_path: Path) -> None:
    """The layers that are finetuned are those that the engine rounds."""
    onnx = pytest.importorskip("onnx")
    from edgevpr.compile.graph.fuse import clean_up
    from edgevpr.compile.precision.structure import int8_layers

    network = Network(ARCHITECTURE, (64, 64))
    save_model(
        tmp_path / "model", network, role="gallery", preprocess=Preprocess(64, 64), training={},
        config={},
    )  # fmt: skip
    export_onnx(tmp_path / "model", tmp_path / "model.onnx")
    noise = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    graph = clean_up(onnx.load(tmp_path / "model.onnx"), noise)
    convolutions = [layer for layer in int8_layers(graph) if layer.operator == "Conv"]
    modules = [network.get_submodule(name) for name in int8_modules(network, (64, 64))]
    assert len(modules) > 3
    assert len([m for m in modules if isinstance(m, torch.nn.Conv2d)]) == len(convolutions)


def test_finetuning_wins_back_what_rounding_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights learn from the rounded pass."""
    monkeypatch.setattr("edgevpr.train.qat._LARGEST", 7)  # four bits: a loss worth winning back
    torch.manual_seed(0)
    torch.set_num_threads(1)
    teacher = Network(ARCHITECTURE, (64, 64)).eval()
    student = Network(ARCHITECTURE, (64, 64)).eval()
    student.load_state_dict(teacher.state_dict())
    images = torch.randn(8, 3, 64, 64)
    with torch.no_grad():
        target = teacher(images)
    with rounded_to_int8(student, (64, 64)) as names:
        for name in names:
            student.get_submodule(name).rounded_input.train()
        optimizer = torch.optim.Adam(student.parameters(), lr=1e-4)
        losses = []
        for _ in range(15):
            loss = (1 - (student(images) * target).sum(1)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[0] > 1e-3
    assert losses[-1] < 0.5 * losses[0]


def test_a_finetuned_network_is_an_ordinary_one(tiny: Path, tmp_path: Path) -> None:
    """Nothing of the rounding ends up in the artifact that compile reads, and an interrupted run
    goes on with the ranges it had seen."""
    torch.set_num_threads(1)
    gallery = TrainConfig(
        images=tiny / "train", architecture=ARCHITECTURE, image_size=64, epochs=1, batch_size=8,
        images_per_place=2, precision="fp32", workers=0,
    )  # fmt: skip
    fit(gallery, tmp_path / "gallery")
    embed(tmp_path / "gallery", tiny / "train", tmp_path / "features", workers=0)
    query = dataclasses.replace(gallery, features=tmp_path / "features")
    fit(query, tmp_path / "plain")
    tuned = dataclasses.replace(
        query, qat=True, weights=tmp_path / "plain/weights.safetensors", epochs=2
    )
    record = fit(tuned, tmp_path / "tuned")
    assert record["int8_layers"] > 3
    load_model(tmp_path / "tuned")
    plain = load_file(tmp_path / "plain/weights.safetensors")
    whole = load_file(tmp_path / "tuned/weights.safetensors")
    assert whole.keys() == plain.keys()

    def stop(step: TrainingStep) -> None:
        if step.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(tuned, tmp_path / "again", on_step=stop)
    assert not (tmp_path / "again").exists()
    fit(tuned, tmp_path / "again", resume=True)
    again = load_file(tmp_path / "again/weights.safetensors")
    for name, values in whole.items():
        assert torch.equal(values, again[name]), name


def test_a_gallery_network_is_refused(tiny: Path) -> None:
    """Only query networks are compiled to INT8."""
    with pytest.raises(UsageError, match="pass the features"):
        TrainConfig(images=tiny / "train", architecture=ARCHITECTURE, qat=True)
