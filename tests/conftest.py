"""Fixtures every test may use."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell has what it runs in the background ignore Ctrl-C, nohup a hangup, and what tests start
# would inherit that; a program that is started does not inherit a handler.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


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


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """A Ray cluster of two workers on this machine; it takes SIGTERM, which is given back."""
    ray = pytest.importorskip("ray", reason="pip install 'edgevpr[cluster]'")
    before = signal.getsignal(signal.SIGTERM)
    ray.init(
        "local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    yield
    ray.shutdown()
    signal.signal(signal.SIGTERM, before)
