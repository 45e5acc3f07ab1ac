"""FAISS factory strings of the index kinds, for N vectors of d dimensions.

``ivfpq``: inverted lists (Jégou et al., 2011) of 4-bit codes over 2 dimensions, residual, in the
fast-scan layout (André et al., 2017). The bytes are those of 8 bits over 4 dimensions, but 16
centroids train on a thousand images where 256 would not, in seconds instead of a minute, and single
queries were 1.8 to 2.7 times faster at the same agreement (20,000 and 2,108 images, 256-d).
``opq-ivfpq``: the same after a learned rotation (Ge et al., 2013). ``pq-fastscan``: those codes
without lists, every one looked at. ``rabitq``: inverted lists of one bit a dimension (Gao and Long,
2024). ``sq8``: inverted lists of one byte a dimension. ``flat``: every vector in float32, exact.

A refine store ranks the candidates again: without one IVFPQ alone found 52% of the exact first
images on real features, with sq8 98%, with fp16 100%.
"""

import math
from typing import NamedTuple

from edgevpr.errors import UsageError

#: FAISS wants this many training points a centroid before it stops warning.
POINTS_PER_CENTROID = 39
#: Below this there is nothing to gain from inverted lists: every vector is looked at.
SMALLEST_IVF = 64

#: kind -> factory string, with {lists}, {codes} and {width} to fill in.
FACTORIES = {
    "ivfpq": "IVF{lists},PQ{codes}x4fsr",
    "opq-ivfpq": "OPQ{codes}_{width},IVF{lists},PQ{codes}x4fsr",
    "pq-fastscan": "PQ{codes}x4fs",
    "rabitq": "IVF{lists},RaBitQfs",
    "sq8": "IVF{lists},SQ8",
    "flat": "Flat",
}
#: refine store -> end of the factory string.
REFINE_STORES = {"none": "", "fp16": ",Refine(SQfp16)", "sq8": ",Refine(SQ8)"}

#: Kinds and stores tried, in this order, when goals are set and no kind is named.
SEARCHED = [
    ("ivfpq", "fp16"),
    ("ivfpq", "sq8"),
    ("rabitq", "sq8"),
    ("sq8", "none"),
    ("ivfpq", "none"),
    ("rabitq", "none"),
    ("pq-fastscan", "sq8"),
    ("opq-ivfpq", "sq8"),
    ("opq-ivfpq", "none"),
]
#: Exact search of every float32 vector is only tried up to here: 20,000 of 256 take a millisecond.
MOST_FLAT = 20_000


class IndexCandidate(NamedTuple):
    """An index that could be built: its width d and its FAISS factory string."""

    width: int
    factory: str


def choose_factory(count: int, width: int) -> str:
    """The factory string used when neither a kind nor a goal is given: ``ivfpq`` with fp16."""
    return factory_of("ivfpq", "fp16", count, width)


def factory_of(kind: str, refine: str, count: int, width: int) -> str:
    """The factory string of ``kind`` with ``refine`` for (count, width) vectors.

    The number of lists is the power of two nearest to 4 sqrt(N) that leaves 39 training points a
    list. Fewer than 64 vectors are stored in fp16 and all compared, unless ``kind`` is flat.
    """
    if kind == "flat":
        return "Flat"
    if count < SMALLEST_IVF:
        return "SQfp16"
    lists = 2 ** round(math.log2(4 * math.sqrt(count)))
    lists = min(lists, 2 ** int(math.log2(max(count // POINTS_PER_CENTROID, 1))))
    codes = width // 2 if width % 2 == 0 else width
    base = FACTORIES[kind].format(lists=lists, codes=codes, width=width)
    return base + REFINE_STORES[refine]


def candidates(
    kind: str, refine: str, factory: str, count: int, width: int, *, search: bool, narrower: bool
) -> list[IndexCandidate]:
    """Indexes to build and measure, the likeliest first.

    Args:
        kind, refine: names above, or the empty string for "any".
        factory: verbatim; wins over both.
        search: try every kind that is left open, not only the default one.
        narrower: also try half the width (a projection's leading directions are the best narrower
            projection).

    Raises:
        UsageError: an unknown name.
    """
    if factory:
        return [IndexCandidate(width, factory)]
    for option, name, known in (
        ("kind", kind, FACTORIES),
        ("refine", refine, REFINE_STORES),
    ):
        if name and name not in known:
            raise UsageError(
                f"found `{option}` {name!r}, expected one of {', '.join(known)}: correct it, or "
                "pass `factory`, a FAISS factory string"
            )
    if not search:
        store = refine or ("none" if kind in ("sq8", "flat") else "fp16")
        return [IndexCandidate(width, factory_of(kind or "ivfpq", store, count, width))]
    pairs = [p for p in SEARCHED if kind in ("", p[0]) and refine in ("", p[1])]
    if kind and refine and not pairs:
        pairs = [(kind, refine)]
    if kind == "flat" or (not kind and count <= MOST_FLAT):
        pairs.append(("flat", "none"))
    widths = [width, width // 2 - width // 2 % 8] if narrower and width >= 64 else [width]
    found = [IndexCandidate(w, factory_of(k, r, count, w)) for w in widths for k, r in pairs]
    return list(dict.fromkeys(found))
