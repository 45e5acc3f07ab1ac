"""Pages of docs/verbs against the help of the verbs."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_pages_are_current() -> None:
    """docs/generate.py would write the pages as they are."""
    pinned = re.findall(r"^typer==([\d.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    if version("typer") not in pinned:
        pytest.skip(f"typer {version('typer')} sets help otherwise than {' and '.join(pinned)}")
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/generate.py"), "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
