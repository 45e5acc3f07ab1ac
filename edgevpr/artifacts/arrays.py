"""Reader of an artifact's npy files: a known type and shape, nothing pickled, nothing allocated
on a file's word."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgevpr.artifacts.manifest import Artifact
from edgevpr.errors import CorruptArtifactError

#: Most bytes of the header of an npy file.
_MOST_HEADER = 4096
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_array(
    opened: Artifact, name: str, dtype: DTypeLike, shape: tuple[int | None, ...]
) -> NDArray[Any]:
    """An array of an artifact, read whole; the bytes are those hashed.

    Args:
        dtype: the type it must have.
        shape: the shape it must have; None: any length.

    Raises:
        CorruptArtifactError: no npy file of that type and shape.
    """
    data = opened.bytes(name)
    stream = io.BytesIO(data)
    found, fortran = _header(opened, name, stream, dtype, shape)
    array: NDArray[Any] = np.frombuffer(data, dtype, offset=stream.tell()).copy()
    return array.reshape(found, order="F" if fortran else "C")


def map_array(
    opened: Artifact,
    name: str,
    dtype: DTypeLike,
    shape: tuple[int | None, ...],
    *,
    verify: bool = True,
) -> NDArray[Any]:
    """An array of an artifact as a read-only memory map of the file that was hashed.

    Raises:
        CorruptArtifactError: no npy file of that type and shape.
    """
    held = opened.held(name, verify=verify)
    with held.open("rb") as stream:
        found, fortran = _header(opened, name, stream, dtype, shape)
        offset = stream.tell()
        if 0 in found:
            return np.empty(found, dtype)
        return np.memmap(stream, dtype, "r", offset, shape=found, order="F" if fortran else "C")


def _header(
    opened: Artifact, name: str, stream: Any, dtype: DTypeLike, shape: tuple[int | None, ...]
) -> tuple[tuple[int, ...], bool]:
    """Shape and order, once type, shape and the file's size agree; leaves ``stream`` at the data.

    Raises:
        CorruptArtifactError: they do not.
    """
    wanted = np.dtype(dtype)
    expected = f"{wanted} of shape {_spelled(shape)}"
    path = opened.path / name
    try:
        version = np.lib.format.read_magic(stream)
        found, fortran, kind = _READERS[version](stream, max_header_size=_MOST_HEADER)
    except Exception as error:  # numpy evaluates the header as Python and raises what that raises
        raise _not_it(opened, path, f"no npy file in {path}", expected) from error
    sizes = len(found) == len(shape) and all(
        isinstance(a, int) and a >= 0 and b in (None, a) for a, b in zip(found, shape, strict=True)
    )
    if kind != wanted or not sizes:
        raise _not_it(opened, path, f"{kind} of shape {_spelled(found)} in {path}", expected)
    size = wanted.itemsize
    for side in found:
        size *= side
    there = opened.manifest.files[name].size - stream.tell()
    if size != there:
        raise _not_it(opened, path, f"{there} bytes of values in {path}", f"{size}, {expected}")
    return tuple(found), bool(fortran)


def _spelled(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if side is None else str(side)[:20] for side in shape)})"


def _not_it(opened: Artifact, path: Path, found: str, expected: str) -> CorruptArtifactError:
    return CorruptArtifactError(
        f"found {found}, expected {expected}: write it again with {opened.command}"
    )
