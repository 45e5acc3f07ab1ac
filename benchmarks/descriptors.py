"""Descriptors with the statistics of a trained network's, for maps larger than any at hand.

Measured on the demo's networks (a gallery network of D = 1024 and its query network, 1,000 map
images of 250 places and 250 queries): the variance along each principal direction, which share of
it lies between views of one place, how much of a place's displacement a query repeats along it
(gain), and what the query adds there of its own (noise); ``KNOTS``, interpolated in log-log. The
mean descriptor has length 0.58, the queries' 0.24 with a cosine of 0.74 to it.

Extended to D: direction i of 1024 becomes i * D / 1024, so a wider descriptor uses its width as
fully as the narrow one. Places come in streets of 16 that share a part of their displacement, drawn
for each street from Beta(2, 1): look-alikes. Views differ in how far they are from their place, and
queries in gain and noise, by log-normal factors. What a query has outside the directions of the map
fills its length up to one. All is turned by random signs and a cosine transform, so that no
coordinate is a principal direction.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.features import Features
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess

#: direction (1-based, of 1024), variance, share between views, gain and noise / variance.
KNOTS = np.array(
    [
        (1, 0.0687, 0.052, 0.66, 0.19),
        (2, 0.0371, 0.098, 0.71, 0.26),
        (3, 0.0316, 0.111, 0.82, 0.33),
        (5.4, 0.0307, 0.127, 0.83, 0.29),
        (10.2, 0.0215, 0.156, 0.87, 0.58),
        (19.8, 0.0099, 0.214, 0.99, 1.00),
        (39, 0.00315, 0.311, 0.89, 1.43),
        (77, 0.00069, 0.432, 0.75, 2.03),
        (155, 0.00011, 0.502, 0.62, 2.62),
        (241, 0.00002, 0.538, 0.55, 3.16),
        (308, 0.00001, 0.549, 0.50, 3.93),
    ]
)
MEAN, QUERY_MEAN, MEANS_COSINE = 0.58, 0.24, 0.743
VIEWS, STREET, PLACES = 4, 16, 1024
#: What gains are scaled by: chosen by hand, so that similarities come near the measured ones.
GAIN = 1.25
SPACE = "synthetic-{dim}-000000000000"
#: 5, 25, 50, 75, 95% of the similarity of a query's best right and best wrong image, as measured.
MEASURED = ([0.472, 0.603, 0.659, 0.710, 0.769], [0.440, 0.504, 0.548, 0.594, 0.665])


def spectrum(stretch: float, directions: int) -> tuple[NDArray[np.float32], ...]:
    """Variance, share between views, gain and noise of each direction."""
    at = np.log((np.arange(directions) + 1) / stretch)
    knots = np.log(KNOTS)
    variance, views, gain, noise = (
        np.exp(np.interp(at, knots[:, 0], knots[:, i])) for i in range(1, 5)
    )
    variance *= (1 - MEAN**2) / variance.sum()
    return tuple(x.astype(np.float32) for x in (variance, views, GAIN * gain, noise))


def chunk(
    number: int, queries: int, stretch: float, directions: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """``PLACES`` places: (PLACES * VIEWS, directions + 1) views, (Q, ...) queries, their places.

    The first coordinate is along the mean; the rest are the principal directions.
    """
    rng = np.random.default_rng([seed, number])
    variance, views, gain, noise = spectrum(stretch, directions)

    def normal(rows: int) -> NDArray[np.float32]:
        return rng.standard_normal((rows, directions), np.float32)

    def factor(rows: int, spread: float) -> NDArray[np.float32]:
        drawn = spread * rng.standard_normal((rows, 1)) - spread**2
        return np.exp(drawn).astype(np.float32)

    streets = PLACES // STREET
    alike = np.repeat(rng.beta(2, 1, (streets, 1)).astype(np.float32), STREET, axis=0)
    place = np.sqrt(alike) * np.repeat(normal(streets), STREET, axis=0)
    place += np.sqrt(1 - alike) * normal(PLACES)
    place *= np.sqrt(variance * (1 - views))
    shown = np.repeat(place, VIEWS, axis=0)
    shown += factor(len(shown), 0.23) * np.sqrt(variance * views) * normal(len(shown))
    shown *= np.sqrt(1 - MEAN**2) / np.linalg.norm(shown, axis=1, keepdims=True)
    shown = np.hstack([np.full((len(shown), 1), MEAN, np.float32), shown])

    of = np.sort(rng.choice(PLACES, queries, replace=False))
    seen = np.minimum(factor(queries, 0.2), 1.25) * gain * place[of]
    seen += factor(queries, 0.15) * np.sqrt(variance * noise) * normal(queries)
    along = np.full((queries, 1), QUERY_MEAN * MEANS_COSINE, np.float32)
    return shown, np.hstack([along, seen]), of


def write(folder: Path, count: int, dim: int, queries: int, seed: int = 0) -> tuple[Path, Path]:
    """Features artifacts of a map of about ``count`` images and of its queries, in ``folder``."""
    from scipy.fft import idct

    chunks = max(round(count / (PLACES * VIEWS)), 1)
    count = chunks * PLACES * VIEWS
    each = min(-(-queries // chunks), PLACES)
    stretch = dim / 1024
    directions = min(int(340 * stretch), dim - 1)
    rng = np.random.default_rng(seed)
    where = rng.permutation(dim)
    signs = rng.choice(np.array([-1, 1], np.float32), dim)

    def turned(some: NDArray[np.float32], *, outside: bool) -> NDArray[np.float16]:
        full = np.zeros((len(some), dim), np.float32)
        full[:, where[: some.shape[1]]] = some
        length = np.linalg.norm(some, axis=1, keepdims=True)
        if outside and some.shape[1] < dim:
            rest = rng.standard_normal((len(some), dim - some.shape[1]), np.float32)
            rest *= np.sqrt(np.maximum(1 - length**2, 0) / (dim - some.shape[1]))
            full[:, where[some.shape[1] :]] = rest
        full /= np.linalg.norm(full, axis=1, keepdims=True)
        out = idct(full * signs, norm="ortho", axis=1, workers=2)
        return np.asarray(out, np.float16)

    map_, asked = folder / "map", folder / "queries"
    space = SPACE.format(dim=dim)
    places: list[NDArray[np.int64]] = []
    seen: list[NDArray[np.float16]] = []

    def blocks() -> Iterator[NDArray[np.float16]]:
        for i in range(chunks):
            shown, query, of = chunk(i, each, stretch, directions, seed)
            for start in range(0, len(shown), 1024):
                yield turned(shown[start : start + 1024], outside=False)
            seen.append(turned(query, outside=True))
            places.append(of + i * PLACES)

    about = {"space": space, "model_digest": "synthetic", "preprocess": Preprocess(64, 64),
             "source": "synthetic"}  # fmt: skip
    Features.write(map_, blocks(), _grid("gallery", np.arange(count) // VIEWS), **about)
    Features.write(
        asked, np.vstack(seen), _grid("query", np.concatenate(places)), **about, role="query"
    )
    return map_, asked


def _grid(role: str, place: NDArray[np.int64]) -> ImageTable:
    """Places on a grid 60 m apart, a thousand to a row."""
    return ImageTable.build(
        [f"{role}-{i}.jpg" for i in range(len(place))],
        place=place,
        easting=300_000 + 60.0 * (place % 1000),
        northing=6_000_000 + 60.0 * (place // 1000),
        zone=np.full(len(place), 33),
        letter=["U"] * len(place),
    )
