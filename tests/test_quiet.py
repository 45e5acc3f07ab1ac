"""Third-party output stays off stdout."""

import logging
import os
import sys

import pytest
from tqdm import tqdm

from edgevpr.quiet import quiet


def test_nothing_reaches_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    """Python's print, C's write and tqdm inside; a progress bar on stderr stays visible."""
    with quiet() as said:
        print("from Python")
        os.write(1, b"from C++\n")
        list(tqdm(range(3)))
        logging.getLogger("anything").error("from a logger")
        print("a bar of ours", file=sys.stderr)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == "a bar of ours\n"
    assert "from Python" in said[0]
    assert "from C++" in said[0]
    print("data")
    os.write(1, b"more\n")
    sys.stdout.flush()
    assert sorted(capfd.readouterr().out.split()) == ["data", "more"]


def test_an_error_restores_everything(capfd: pytest.CaptureFixture[str]) -> None:
    """After an exception, stdout, logging and tqdm work again."""
    with pytest.raises(ValueError, match="reason"), quiet():
        raise ValueError("reason")
    os.write(1, b"heard\n")
    assert capfd.readouterr().out == "heard\n"
    assert logging.root.manager.disable == 0
    assert not tqdm(range(1), file=sys.stderr).disable


def test_handlers_made_inside_are_dropped() -> None:
    """modelopt binds a handler to the stdout of its import: kept, it writes to a closed stream."""
    before = list(logging.getLogger().handlers)
    with quiet():
        logging.basicConfig(force=True)
        logging.getLogger("modelopt.onnx").addHandler(logging.StreamHandler(sys.stdout))
    assert logging.getLogger().handlers == before
    kinds = [type(h) for h in logging.getLogger("modelopt.onnx").handlers]
    assert kinds == [logging.NullHandler]
