"""Settings of a training run: light to import, complete for the command line, checked."""

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from edgevpr.errors import UsageError
from edgevpr.option import Option
from edgevpr.train.anytime.codebook_config import CodebookConfig
from edgevpr.train.anytime.exit_options import ExitOptions
from edgevpr.train.config import TrainConfig
from edgevpr.train.losses.arguments import ARGUMENTS, QUERY_LOSSES
from edgevpr.train.networks.architecture import Architecture


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(Path("images"), Architecture(), **changes)


def test_imports_without_torch() -> None:
    """``edgevpr train --help`` reads the settings on a machine without the train extra."""
    blocked = ("torch", "timm", "lightning", "pytorch_metric_learning", "faiss", "cv2")
    program = (
        f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
        "import edgevpr.train.config, edgevpr.train.anytime.codebook_config"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("kind", [TrainConfig, Architecture, ExitOptions, CodebookConfig])
def test_every_field_has_a_help_text(kind: type) -> None:
    hints = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        if not dataclasses.is_dataclass(hints[field.name]):
            (about,) = hints[field.name].__metadata__
            assert isinstance(about, Option)
            assert about.help.endswith(".")


def test_loss_arguments_are_those_of_the_functions() -> None:
    """The table of arguments repeats what the torch functions take, default by default."""
    pytest.importorskip("torch")
    pytest.importorskip("pytorch_metric_learning")
    from edgevpr.train.losses.objectives import BASELINES

    for name, loss in BASELINES.items():
        parameters = inspect.signature(loss).parameters.values()
        numbers = {p.name: p.default for p in parameters if isinstance(p.default, int | float)}
        assert ARGUMENTS.get(name, {}) == numbers
    assert set(BASELINES) <= set(QUERY_LOSSES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, r"^found `epochs` 0, expected 1 or more: pass `epochs` 15$"),
        ({"crop": 1.5}, r"^found `crop` 1.5, expected at most 1: pass `crop` 0.75$"),
        ({"lr": 0.0}, "found `lr` 0.0, expected above 0"),
        ({"min_lr": 1.0}, "found `min_lr` 1.0, expected 0 to `lr`"),
        ({"images_per_place": 1}, "`images_per_place` 1, expected 2 or more"),
        ({"qat": True}, "found `qat` without `features`"),
        ({"through_index": Path("g")}, "found `through_index` without `features`"),
        ({"validation_features": Path("f")}, "pass `validation`$"),
        ({"batch_size": 8, "devices": 3}, "found `batch_size` 8, expected a multiple"),
        ({"loss": "csd"}, "found `loss` csd, expected one of multi-similarity"),
        ({"features": Path("f"), "loss": "d3still", "loss_args": {"topk": 3}}, r"takes \(top_k"),
        ({"loss": "supcon", "loss_args": {"t": 1}}, r"`loss_args` t=1, .* \(temperature\)"),
        ({"tau": 0.0}, "found `tau` 0.0, expected a temperature above 0 and at most 1"),
        ({"tau": -1.0}, "found `tau` -1.0"),
        ({"tau": 2.0}, "found `tau` 2.0"),
        ({"gamma": -1.0}, "found `gamma` -1.0, expected a finite number of 0 or more"),
        ({"gamma": float("inf")}, "found `gamma` inf"),
    ],
)
def test_refusals_say_found_expected_and_what_to_do(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config(**changes)
