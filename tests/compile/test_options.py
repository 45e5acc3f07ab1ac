"""Options of a compilation: light to import, documented, checked."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from edgevpr.compile.options import CompileOptions
from edgevpr.errors import UsageError
from edgevpr.option import Option


def test_importing_the_options_loads_nothing_heavy() -> None:
    """The command line reads them for --help."""
    program = (
        "import sys, edgevpr.compile.options;"
        "print(*{'numpy', 'onnx', 'onnxruntime', 'faiss', 'torch', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_every_option_has_help() -> None:
    hints = get_type_hints(CompileOptions, include_extras=True)
    for field in dataclasses.fields(CompileOptions):
        (option,) = hints[field.name].__metadata__
        assert isinstance(option, Option)
        assert option.help


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_recall_drop": 101.0}, "found `max_recall_drop` 101, expected .* between 0 and 100"),
        ({"max_minutes": 0.0}, "found `max_minutes` 0, expected minutes above 0"),
        ({"calibrator": "median"}, "found `calibrator` median, expected entropy, max or perc"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CompileOptions("cpu", gallery=Path("gallery"), **options)  # type: ignore[arg-type]
