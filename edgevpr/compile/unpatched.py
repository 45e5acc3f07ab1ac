"""Undo what modelopt does to ONNX Runtime: it replaces parts of its quantizer, and leaves them so.

Afterwards ONNX Runtime's own ``quantize_static`` fails in the same process ("Histogram has not
been collected"); compiling for a GPU first and for the CPU next must not depend on the order.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def unpatched(package: str = "onnxruntime.quantization") -> Iterator[None]:
    """Put back every attribute of the package's modules and classes that the block replaced."""
    __import__(package)
    saved = [(owner, dict(vars(owner))) for owner in _owners(package)]
    try:
        yield
    finally:
        for owner, before in saved:
            for name, value in before.items():
                if vars(owner).get(name) is not value and not name.startswith("__weakref"):
                    setattr(owner, name, value)


def _owners(package: str) -> list[Any]:
    """The loaded modules of a package and the classes they define."""
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name == package or name.startswith(f"{package}.")
    ]
    classes = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__.startswith(package)
    }
    return [*modules, *sorted(classes, key=lambda c: (c.__module__, c.__qualname__))]
