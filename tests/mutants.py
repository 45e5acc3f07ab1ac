"""Damaged artifacts, seeded: what a reader must refuse in one sentence or read rightly.

Two kinds. *Blind*: a file's bytes change and the manifest does not. *Sealed*: somebody who knows
the format changes a file and writes a manifest that fits it.
"""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edgevpr.artifacts.folder import seal
from edgevpr.artifacts.manifest import MANIFEST, Manifest, read_json

#: Values that a record's own are replaced with.
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, -(2**63), 10**30, 1e308, -0.0, 0.5, "", "x" * 100_000,
    "../../etc/passwd", "a\0b", "\ud800", [], {}, [[]], [None] * 1000, {"a": {"b": {}}},
)  # fmt: skip
CELLS = (
    "", "nan", "inf", "-inf", "1e400", "9" * 30, "-1", "61", "999999", "91.5", "200", "x" * 200_000,
    "\0", '"', "0x10", "1_000", "\u0661", "1.5", "-9223372036854775809",
)  # fmt: skip
HEADERS = (
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<f2', 'fortran_order': False, 'shape': (9999999999999,), }",
    "{'descr': '<f2', 'fortran_order': False, 'shape': (-1, -1), }",
    "{'descr': '<f8', 'fortran_order': True, 'shape': (3, 3), }",
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<f2', 'fortran_order': False, 'shape': (True, 1e9), }",
    "(" * 3000,
    "[" * 90_000,
    "{'descr': __import__('os')}",
)


def flip(data: bytes, rng: random.Random) -> bytes:
    """Another string of bytes: bits flipped, cut, grown, a part repeated or overwritten."""
    changed = bytearray(data)
    how = rng.randrange(6)
    at = rng.randrange(len(data) + 1)
    size = rng.choice((1, 2, 8, 64, 4096))
    if how == 0 and data:
        for _ in range(rng.choice((1, 1, 8))):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == 1:
        del changed[at:]
    elif how == 2:
        changed[at:at] = rng.randbytes(size)
    elif how == 3:
        changed[at : at + size] = bytes(len(changed[at : at + size]))
    elif how == 4:
        changed[at:at] = changed[:size]
    else:
        changed[at : at + size] = b"\xff" * len(changed[at : at + size])
    return bytes(changed)


def odd_json(data: bytes, rng: random.Random) -> bytes:
    """The record with one value replaced, taken out, or buried under brackets."""
    document = json.loads(data)
    places: list[tuple[Any, Any]] = []

    def visit(value: Any) -> None:
        keys = value if isinstance(value, dict) else range(len(value))
        for key in keys:
            places.append((value, key))
            if isinstance(value[key], dict | list):
                visit(value[key])

    visit(document)
    if not places or rng.random() < 0.1:
        depth = rng.choice((100, 5_000, 200_000))
        return b'{"a":' * depth + b"1" + b"}" * depth
    holder, key = rng.choice(places)
    if rng.random() < 0.2 and isinstance(holder, dict):
        del holder[key]
    else:
        holder[key] = rng.choice(ODD)
    return json.dumps(document).encode()


def odd_csv(data: bytes, rng: random.Random) -> bytes:
    """The table with one cell replaced."""
    lines = data.decode().split("\n")
    row = rng.randrange(len(lines))
    cells = lines[row].split(",")
    cells[rng.randrange(len(cells))] = rng.choice(CELLS)
    lines[row] = ",".join(cells)
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def odd_npy(data: bytes, rng: random.Random) -> bytes:
    """The array under a header of another type or shape."""
    header = rng.choice(HEADERS).encode() + b"\n"
    size = min(len(header), 65535).to_bytes(2, "little")
    return b"\x93NUMPY\x01\x00" + size + header + data[128:]


BY_ENDING: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".json": odd_json,
    ".csv": odd_csv,
    ".npy": odd_npy,
}


def mutate(original: Path, copy: Path, seed: int, *, sealed: bool, index: bool = False) -> str:
    """Write a damaged copy of an artifact at ``copy``; returns which file was changed.

    Args:
        index: FAISS's own files too, where ``sealed``.
    """
    rng = random.Random(seed)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(original, copy)
    names = sorted(p.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file())
    if sealed:
        left_out = (MANIFEST,) if index else (MANIFEST, ".faiss")
        names = [name for name in names if not name.endswith(left_out)]
    name = rng.choice(names)
    file = copy / name
    data = file.read_bytes()
    by_kind = BY_ENDING.get(file.suffix, flip)
    change = by_kind if sealed or (name == MANIFEST and rng.random() < 0.7) else flip
    if sealed and rng.random() < 0.3:
        change = flip
    file.write_bytes(change(data, rng))
    if sealed:
        again(copy)
    return name


def again(folder: Path) -> None:
    """Seal a folder anew: its manifest lists the files as they are."""
    manifest = read_json(folder / MANIFEST, Manifest)
    (folder / MANIFEST).unlink()
    for name in ("bundle.json", "gallery.json"):
        if (folder / name).is_file():
            _follow(folder, folder / name)
    seal(folder, manifest.kind, manifest.space)


def _follow(folder: Path, record: Path) -> None:
    """Let a record name the graph and the projection that are there."""
    from edgevpr.artifacts.manifest import sha256_file

    try:
        document = msgspec.json.decode(record.read_bytes())
    except (msgspec.DecodeError, ValueError, RecursionError):
        return
    for field, name in (("graph_sha256", "model.onnx"), ("projection", "projection.npy")):
        if isinstance(document, dict) and document.get(field) and (folder / name).is_file():
            document[field] = sha256_file(folder / name)
    record.write_bytes(msgspec.json.encode(document))
