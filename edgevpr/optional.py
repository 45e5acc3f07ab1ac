"""Packages that only some rooms need, imported where they are used."""

import importlib
from types import ModuleType

from edgevpr.errors import MissingExtraError


def require(module: str, *, extra: str) -> ModuleType:
    """Import ``module`` or raise one sentence with the pip command.

    Raises:
        MissingExtraError: ``module`` (its top-level package) is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        raise MissingExtraError(
            f"the Python package {missing!r} is not installed; run: pip install 'edgevpr[{extra}]'"
        ) from error
