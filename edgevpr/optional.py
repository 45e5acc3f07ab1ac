"""Import of optional packages, with the pip command where one is missing."""

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
            f"found no Python package {missing!r}, expected the one that edgevpr[{extra}] brings: "
            f"run pip install 'edgevpr[{extra}]'"
        ) from error
