"""Two processes that share each batch against one that holds it whole."""

import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from safetensors.torch import load_file  # noqa: E402

from edgevpr.errors import UsageError  # noqa: E402
from edgevpr.train.config import TrainConfig  # noqa: E402
from edgevpr.train.embed.embed import embed  # noqa: E402
from edgevpr.train.fit import fit  # noqa: E402
from edgevpr.train.networks.architecture import Architecture  # noqa: E402

#: No batch normalization: its statistics are those of a process's own share.
OPTIONS = (
    "--backbone", "convnext_atto", "--out-index", "0", "--aggregator", "gem",
    "--image-size", "32", "--batch-size", "8", "--images-per-place", "2", "--epochs", "1",
    "--precision", "fp32", "--workers", "0",
)  # fmt: skip


def _train(images: Path, out: Path, *options: str) -> dict[str, "torch.Tensor"]:
    command = [sys.executable, "-m", "edgevpr", "train", str(images), "-o", str(out)]
    done = subprocess.run(
        [*command, *OPTIONS, *options], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return load_file(out / "weights.safetensors")


@pytest.fixture(scope="module")
def features(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ddp")
    config = TrainConfig(
        images=tiny / "train",
        architecture=Architecture("convnext_atto", 0, aggregator="gem"),
        image_size=32, epochs=1, batch_size=8, images_per_place=2, precision="fp32", workers=0,
    )  # fmt: skip
    fit(config, out / "gallery")
    embed(out / "gallery", tiny / "train", out / "features", workers=0)
    return out / "features"


@pytest.mark.parametrize("loss", ["supcon", "implicit", "raml", "csd"])
def test_two_processes_train_as_one(tiny: Path, features: Path, tmp_path: Path, loss: str) -> None:
    """Losses see the whole batch of both processes, and gradients are those of one."""
    options = ["--loss", loss]
    if loss != "supcon":
        options += ["--features", str(features)]
    if loss == "csd":
        options += ["--loss-args", "top_k=8"]
    one = _train(tiny / "train", tmp_path / "one", *options)
    two = _train(tiny / "train", tmp_path / "two", *options, "--devices", "2")
    start, _ = TrainConfig(images=tiny, architecture=Architecture("resnet10t")).learning_rates
    for name, value in one.items():
        # AdamW moves every weight by about lr a step: a wrong gradient shows at once.
        torch.testing.assert_close(two[name], value, atol=start / 20, rtol=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


def test_a_batch_that_does_not_divide(tiny: Path) -> None:
    with pytest.raises(UsageError, match="expected a multiple of the 3 x 1 processes"):
        TrainConfig(images=tiny, architecture=Architecture("resnet10t"), devices=3)
