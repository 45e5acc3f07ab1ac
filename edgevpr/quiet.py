"""Silencer of third-party output on stdout, which is kept for data.

Quantizers print from Python, log to a handler bound to stdout and draw bars; TensorRT's parser
writes to file descriptor 1 from C++. Their output is captured and returned, for error messages.
"""

import contextlib
import functools
import importlib
import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quiet() -> Iterator[list[str]]:
    """Run a block with stdout, logging and tqdm silenced; stderr stays for progress bars.

    Yields:
        a list that holds the captured text, in one piece, once the block has ended.
    """
    captured: list[str] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(_no_logging())
        stack.enter_context(_no_tqdm())
        stack.enter_context(_captured_stdout(captured))
        yield captured


@contextlib.contextmanager
def _captured_stdout(captured: list[str]) -> Iterator[None]:
    """Python's stdout to a string, the process's descriptor 1 to a temporary file."""
    text = io.StringIO()
    with contextlib.suppress(ValueError, OSError):
        sys.stdout.flush()
    with tempfile.TemporaryFile() as sink, contextlib.redirect_stdout(text):
        saved = os.dup(1)
        os.dup2(sink.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(saved, 1)
            os.close(saved)
            sink.seek(0)
            captured.append(text.getvalue() + sink.read().decode(errors="replace"))


@contextlib.contextmanager
def _no_logging() -> Iterator[None]:
    """Nothing is logged, and no handler made in the block (bound to its stdout) outlives it."""
    root, disabled = logging.getLogger(), logging.root.manager.disable
    handlers = list(root.handlers)
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
        for name in ("modelopt.onnx", "autotune"):
            logging.getLogger(name).handlers[:] = [logging.NullHandler()]


@contextlib.contextmanager
def _no_tqdm() -> Iterator[None]:
    try:
        bar: Any = importlib.import_module("tqdm").tqdm
    except ImportError:
        yield
        return
    original = bar.__init__
    bar.__init__ = functools.partialmethod(original, disable=True)
    try:
        yield
    finally:
        bar.__init__ = original
