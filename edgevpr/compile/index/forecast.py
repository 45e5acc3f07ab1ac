"""Cost model of building and searching an index; every number here is predicted.

The cost model counts the multiplications of each step and divides by a rate measured on this
machine in a fraction of a second. It is a rough guide. Memory counts what is held
at once: a training sample, the codes of one index or shard, blocks of descriptors.
"""

import re
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from edgevpr.artifacts.records import OperatingPoint
from edgevpr.compile.index.factories import POINTS_PER_CENTROID, IndexCandidate
from edgevpr.compile.index.faiss_build import SAMPLE_BYTES
from edgevpr.compile.index.inverted_lists import SHARD_BYTES
from edgevpr.device.cpu import JETSON_MHZ, usual_mhz
from edgevpr.device.targets import Target, load_target, this_board

#: Held while projecting and in exact search: blocks of descriptors, and the process itself.
_BASE_BYTES = 700e6
#: Settings measured on an index with inverted lists and a refine store, and the mean search, ms.
_SETTINGS, _SEARCH_MS = 55, 0.2
#: Bits of a vector register: a Jetson's NEON, and what FAISS uses here.
_NEON_BITS = 128


class Cost(NamedTuple):
    """Predicted cost of building and measuring indexes."""

    seconds: float
    memory_mb: float


def index_bytes(candidate: IndexCandidate, count: int) -> float:
    """Bytes of the index file, from its factory string; 0 where the string is not one of ours."""
    width, factory = candidate
    parts = factory.split(",")
    total = 0.0
    lists = re.search(r"IVF(\d+)", factory)
    # Fast-scan codes come in blocks of 32: half a block a list is empty.
    padded = count + 16 * int(lists[1]) if lists else count
    for part in parts:
        if part.startswith("OPQ"):
            total += 4.0 * width * width
        elif lists and part == lists[0]:
            total += 4.0 * width * int(lists[1]) + 8.0 * count
        elif codes := re.fullmatch(r"PQ(\d+)x(\d+).*", part):
            total += padded * int(codes[1]) * int(codes[2]) / 8 + 4.0 * 2 ** int(codes[2]) * width
        elif part.startswith("RaBitQ"):
            total += padded * width / 8 + count * 8
        elif part in ("SQ8", "Refine(SQ8)"):
            total += float(count * width)
        elif part in ("SQfp16", "Refine(SQfp16)"):
            total += 2.0 * count * width
        elif part == "Flat":
            total += 4.0 * count * width
    return total


def predict(
    candidates: Sequence[IndexCandidate],
    count: int,
    dim: int,
    queries: int,
    *,
    rate: float,
    exits: Sequence[int] = (),
) -> Cost:
    """Seconds and megabytes that building and measuring ``candidates`` will take here.

    Args:
        candidates: indexes to build, one after the other.
        count, dim: descriptors (N, D).
        queries: held-out queries searched exactly.
        rate: multiplications a second, ``measure_rate()``.
        exits: queries of each early exit; one index is measured with them.
    """
    width = max(c.width for c in candidates)
    work = 2.0 * (queries + sum(exits)) * count * dim  # exact search in the full space
    work += count * dim * width + (15.0 * min(count, 10_000) * dim * width if width < dim else 0)
    seconds = work / rate + sum(_SETTINGS * (each + 200) * _SEARCH_MS / 1e3 for each in exits)
    largest = 0.0
    for candidate in candidates:
        found = re.search(r"IVF(\d+)", candidate.factory)
        lists = int(found[1]) if found else 0
        fits = max(SAMPLE_BYTES / (4 * candidate.width), POINTS_PER_CENTROID * lists)
        sample = min(count, max(256 * lists, 65536), fits)
        steps = 10.0 * sample * lists * candidate.width + 2.0 * count * lists * candidate.width
        steps += 30.0 * count * candidate.width * 16
        if "OPQ" in candidate.factory:
            steps += 10 * 65536.0 * candidate.width * (2 * candidate.width + 16 * 4)
        seconds += steps / rate + _SETTINGS * (queries + 200) * _SEARCH_MS / 1e3
        without_store = candidate._replace(factory=candidate.factory.split(",Refine")[0])
        base = index_bytes(without_store, count)
        plain = lists and "fs" not in candidate.factory
        held = min(base, SHARD_BYTES) if plain else base
        largest = max(largest, 4 * sample * candidate.width, 2 * held)
    return Cost(seconds, (largest + _BASE_BYTES) / 1e6)


def measure_rate() -> float:
    """Multiplications a second of a matrix product here, as its best of three."""
    matrix = np.random.default_rng(0).standard_normal((768, 768), np.float32)
    best = np.inf
    for _ in range(3):
        started = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - started)
    return float(768**3 / best)


def search_factor(target: Target) -> tuple[float, str]:
    """Predicted time of a search on ``target`` over that on this machine, and how it is predicted.

    FAISS's kernels work in vector registers: the ratio of their widths, times that of the clocks.
    1 on the board itself, and for targets whose processor is this machine's own kind.
    """
    if not target.is_jetson:
        return 1.0, f"{target.name} is taken to have this machine's processor"
    if this_board() in (target.name, target.family):
        return 1.0, f"measured on {target.name} itself"
    import faiss

    options = faiss.get_compile_options()
    bits = 512 if "AVX512" in options else 256 if "AVX2" in options else _NEON_BITS
    clock = usual_mhz()
    factor = max(bits / _NEON_BITS * clock / JETSON_MHZ, 1.0)
    return round(factor, 2), (
        f"predicted for {target.name}: {bits} of {_NEON_BITS} register bits times {clock:.0f} of "
        f"{JETSON_MHZ:.0f} MHz (1500 to 2200 by board and power mode), not measured on it"
    )


def predicted_on(target: str, points: Sequence[OperatingPoint]) -> tuple[list[OperatingPoint], str]:
    """Points with their times on the board ``target``, and how these are predicted; "" for none."""
    factor, model = search_factor(load_target(target)) if target else (1.0, "")
    times = (round(p.search_ms_p50 * factor, 4) if model else None for p in points)
    return [
        msgspec.structs.replace(p, predicted_ms_p50=time)
        for p, time in zip(points, times, strict=True)
    ], model
