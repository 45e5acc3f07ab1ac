"""Cost of changes to a gallery, and of searches with a GPS prior.

    python benchmarks/gallery_updates.py [--images 100000] [--dim 256] [--searches 2000]

Descriptors are made: places are points in 96 directions of falling weight around a common mean,
four views each, a little noise in all dimensions; queries are noisier views. Images lie 2 m apart
along a road. One gallery is built with ``edgevpr index``'s own code; 1% of images are then added,
1% removed, both folded in, and all taken back. Every state is opened first, and then each in turn
answers a few queries, one by one on one thread, so that other load on the machine affects all of
them alike. About 5 minutes at 100,000 images on 2 cores.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import faiss
import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.features import Features
from edgevpr.artifacts.generations import rollback
from edgevpr.compile.gallery_updates import change
from edgevpr.compile.gallery_updates.stats import stats
from edgevpr.compile.index.build_index import build_gallery
from edgevpr.compile.index.index_options import IndexOptions
from edgevpr.device.cpu import cpu_name
from edgevpr.places.near import Near
from edgevpr.places.table import ImageTable
from edgevpr.places.wgs84 import METRES_PER_DEGREE
from edgevpr.preprocess import Preprocess
from edgevpr.retrieval.projection import l2_normalize
from edgevpr.runtime import Gallery

VIEWS, APART_M, SPACE = 4, 2.0, "boq-{dim}-0123456789ab"


class Road:
    """Descriptors of images along a road."""

    def __init__(self, images: int, dim: int) -> None:
        self.rng = np.random.default_rng(0)
        self.basis = self.rng.normal(size=(96, dim)) * (np.arange(1, 97) ** -0.35)[:, None]
        self.mean = self.rng.normal(size=dim)
        self.dim, self.count = dim, images
        self.centres = self.rng.normal(size=(images // VIEWS + 1, 96))

    def views(self, images: NDArray[np.int64], noise: float) -> NDArray[np.float32]:
        """(n, dim) of these images, or of queries taken where they were."""
        along = self.centres[images // VIEWS] + noise * self.rng.normal(size=(len(images), 96))
        rest = noise * self.rng.normal(size=(len(images), self.dim))
        return l2_normalize(self.mean + along @ self.basis + rest)

    def write(self, path: Path, first: int, last: int, noise: float = 0.6) -> Path:
        images = np.arange(first, last)
        table = ImageTable.build(
            [f"{path.name}/{i:07d}.jpg" for i in images],
            place=images // VIEWS,
            lat=np.zeros(len(images)),
            lon=images * APART_M / METRES_PER_DEGREE,
        ).with_positions()
        space = SPACE.format(dim=self.dim)
        Features.write(
            path,
            (
                self.views(images[start : start + 20_000], noise)
                for start in range(0, len(images), 20_000)
            ),
            table,
            space=space,
            model_digest="made",
            preprocess=Preprocess(224, 224),
            source="made",
        )
        return path

    def near(self, image: int, radius: float) -> Near:
        return Near(0.0, image * APART_M / METRES_PER_DEGREE, radius)


def timed(what: str, work: Callable[[], object]) -> str:
    started = time.perf_counter()
    work()
    return f"| {what} | {time.perf_counter() - started:.2f} |"


def percentiles(samples: list[float]) -> str:
    p50, p99 = np.percentile(np.array(samples) * 1e3, [50, 99])
    return f"{p50:.4f} | {p99:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--searches", type=int, default=2000)
    options = parser.parse_args()
    count, more = options.images, max(options.images // 100, 1)
    road = Road(count + more, options.dim)
    changes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="edgevpr-updates-") as scratch:
        root = Path(scratch)
        own, new = root / "own", root / "new"
        road.write(own, 0, count)
        road.write(new, count, count + more)
        held = road.write(root / "held", 0, min(count, 20_000), noise=0.9)
        gallery = root / "map"
        build_gallery(own, gallery, queries=held, options=IndexOptions(dim=options.dim))
        plain = Gallery(gallery)
        changes.append(timed(f"add {more}", lambda: change.add(gallery, new)))
        drift = stats(gallery).changes[-1].drift
        added = Gallery(gallery)
        removed_place = Near(0.0, count * APART_M / METRES_PER_DEGREE / 2, more * APART_M / 2)
        changes.append(timed(f"remove {more}", lambda: change.remove(gallery, near=removed_place)))
        both = Gallery(gallery)
        grown = stats(gallery).bytes_of_earlier
        changes.append(timed("compact", lambda: change.compact(gallery)))
        compacted = Gallery(gallery)
        changes.append(timed("rollback", lambda: rollback(gallery)))
        changes.append(timed("open", lambda: Gallery(gallery)))
        changes.append(timed("open, hashes not checked", lambda: Gallery(gallery, verify=False)))
        shutil.rmtree(own)

        # a robot that drives: queries of consecutive images
        start = count // 3
        driven = start + np.arange(options.searches) % (count // 3)
        queries = road.views(driven, 0.9)
        states: dict[str, Callable[[int], object]] = {
            "as indexed": lambda i: plain.search(queries[i : i + 1]),
            "1% added": lambda i: added.search(queries[i : i + 1]),
            "1% added, 1% removed": lambda i: both.search(queries[i : i + 1]),
            "compacted": lambda i: compacted.search(queries[i : i + 1]),
        }
        priors = {Gallery(gallery, verify=False): r for r in (50.0, 500.0, 5000.0)}
        for each, radius in priors.items():
            still = road.near(start, radius)
            name = f"--near, {int(each.near(still).sum())} images within {radius:g} m"
            states[name] = lambda i, g=each, n=still: g.search(queries[i : i + 1], within=n)
        moving = Gallery(gallery, verify=False)
        states["a prior of 500 m that moves with every frame"] = lambda i: moving.search(
            queries[i : i + 1], within=road.near(int(driven[i]), 500.0)
        )
        samples: dict[str, list[float]] = {name: [] for name in states}
        for search in states.values():
            for i in range(20):
                search(i)
        for first in range(0, options.searches, 20):
            for name, search in states.items():
                for i in range(first, min(first + 20, options.searches)):
                    begun = time.perf_counter()
                    search(i)
                    samples[name].append(time.perf_counter() - begun)

    print(
        f"{cpu_name()}, 1 thread, FAISS {faiss.__version__}; {count} images, "
        f"{plain.record.factory}, {plain.parameters}\n"
    )
    print("| search | ms p50 | ms p99 | p50 by that of the gallery as indexed |\n|---|---|---|---|")
    base = float(np.median(samples["as indexed"]))
    for name, taken in samples.items():
        print(f"| {name} | {percentiles(taken)} | {float(np.median(taken)) / base:.2f} |")
    print("\n| change | s |\n|---|---|")
    print("\n".join(changes))
    print(f"\n{grown / 1e6:.1f} MB more on the disk for the two generations before, until compact")
    if drift is not None:
        print(f"drift: added {drift.added_found}%, own {drift.own_found}% found")


if __name__ == "__main__":
    main()
