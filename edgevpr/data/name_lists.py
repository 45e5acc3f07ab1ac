"""Lists of image names that evaluation code publishes as ``.npy``; pickles are never read."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import DataError


def read_names(file: Path) -> list[str]:
    """The (N,) texts of an array.

    Raises:
        DataError: it cannot be read, or holds anything else.
    """
    return [str(name) for name in read_array(file, "U", "image names")]


def read_array(file: Path, kinds: str, what: str) -> NDArray[Any]:
    """An (N,) array of one of the ``kinds`` of numpy's dtypes.

    Raises:
        DataError: it cannot be read, is a pickle (an array of objects), or holds anything else.
    """
    try:
        values = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(
            f"found {file} unreadable ({error}), expected an .npy of {what} that is no pickle: "
            "copy it again, or remove it"
        ) from None
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in kinds:
        raise DataError(
            f"found something else than a row of {what} in {file}, expected an .npy of {what}: "
            "copy it again, or remove it"
        )
    return values
