"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with reference vectors and real images; tests that need it skip without it."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("EDGEVPR_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set EDGEVPR_SHARED to run this test")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What tests compile is kept for this run alone, and not among the user's own."""
    os.environ["EDGEVPR_CACHE"] = str(tmp_path_factory.mktemp("cache"))
