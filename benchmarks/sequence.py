"""Confidence, ``known`` and the sequence filter, against single frames.

    python benchmarks/sequence.py DEMO_OUT [--bundle cpu-fp32] [--other cpu-int8] [--real REAL_OUT]
        [--corridor CORRIDOR --onnx NETWORK.onnx]
    python benchmarks/sequence.py --cost

DEMO_OUT is the folder of a finished ``edgevpr demo``, REAL_OUT that of
``benchmarks/real_frames.py``.
The confidence is fitted on the demo's tuning images, described by the engine of ``--bundle``, and
measured on images it has not seen:

* way: the test queries, one after the other, always on to the nearest not shown yet, at 7 m/s.
  Held-out images of the same kind as the tuning images: what the confidence promises should hold.
* drive: the demo's video at 10 frames a second and at 1; another light, another view of the streets
  than any image of the map, so that confidences are carried to a domain they were not fitted on.
* walks: held-out walks of REAL_OUT, 1 frame a second, one after the other: the robot is carried to
  another place about every 20 s, and places have no positions. Fitted on REAL_OUT's tuning images.

* corridor: CORRIDOR/query against the map of CORRIDOR/ref, described by NETWORK.onnx (RGB/255 less
  the ImageNet mean), with positions 2, 5 and 10 m apart and a frame a second, 1 m apart at those
  speeds, and without positions; right within two images. No confidence model.

The first three each with the whole map, and with what lies within 50 m of the middle third of the
frames taken out of it, so that these frames show places the map does not hold. R@1 is of frames
whose place is in the map: answered within 25 m (walks: with the place id). Known: confidence at or
above the model's threshold, chosen for 99 % precision on the tuning images.

Then the same confidences from another engine of the same network (``--other``), and what a step of
the filter costs on maps of 1,000 to 100,000 places.
"""

import argparse
import csv
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.records import ConfidenceModel
from edgevpr.compile.index.fit_confidence import fit_vectors
from edgevpr.data import read_images
from edgevpr.places.positives import positives
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import read_image
from edgevpr.retrieval.confidence import evidence, figures, probability
from edgevpr.retrieval.exact import SEARCH_DEPTH
from edgevpr.runtime import Gallery, SequenceFilter, open_localizer

RADIUS_M, CLEARED_M = 25.0, 50.0
WALK_M_S = 7.0


@dataclass(frozen=True)
class Stream:
    """F frames in order: descriptors in the index's space, where and when they were taken."""

    vectors: NDArray[np.float32]
    table: ImageTable
    times: list[float]


def describe(bundle: Path, gallery: Gallery, frames: Sequence[Any]) -> NDArray[np.float32]:
    """Paths or RGB images through the bundle's engine, into the index's space."""
    found = []
    with open_localizer(bundle, gallery, threads=1) as localizer:
        for frame in frames:
            image = read_image(frame) if isinstance(frame, Path) else frame
            small = np.ascontiguousarray(localizer.preprocess.resize(image)[None])
            found.append(localizer.runner.infer(small)[0])
    vectors = np.array(found, np.float32)
    if vectors.shape[1] == gallery.record.index_dim or gallery.projection is None:
        return vectors
    return gallery.projection.apply(vectors)


def folder(path: Path) -> tuple[list[Path], ImageTable]:
    table = read_images(path)
    return [path / p for p in table.paths], table


def way(bundle: Path, gallery: Gallery, path: Path) -> Stream:
    files, table = folder(path)
    left, order, times = np.ones(len(table), bool), [0], [0.0]
    left[0] = False
    while left.any():
        away = np.hypot(*(table.xy - table.xy[order[-1]]).T)
        nearest = int(np.argmin(np.where(left, away, np.inf)))
        times.append(times[-1] + max(float(away[nearest]) / WALK_M_S, 0.1))
        order.append(nearest)
        left[nearest] = False
    vectors = describe(bundle, gallery, [files[i] for i in order])
    return Stream(vectors, table.take(order), times)


def drive(bundle: Path, gallery: Gallery, path: Path) -> Stream:
    import cv2

    with (path / "drive.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    table = ImageTable.build(
        [row["frame"] for row in rows],
        easting=[float(row["easting"]) for row in rows],
        northing=[float(row["northing"]) for row in rows],
        zone=[int(row["zone"]) for row in rows],
        letter=[row["letter"] for row in rows],
    )
    video: Any = cv2.VideoCapture(str(path / "drive.mp4"))
    frames: list[NDArray[np.uint8]] = []
    while (image := video.read()[1]) is not None and len(frames) < len(rows):
        frames.append(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8))
    video.release()
    count = len(frames)
    times = [float(row["time_s"]) for row in rows][:count]
    return Stream(describe(bundle, gallery, frames), table.take(range(count)), times)


def every(stream: Stream, step: int) -> Stream:
    rows = np.arange(0, len(stream.times), step)
    return Stream(stream.vectors[rows], stream.table.take(rows), [stream.times[i] for i in rows])


def judge(
    name: str, stream: Stream, gallery: Gallery, model: ConfidenceModel, cut: bool
) -> list[str]:
    """Two lines of the table: single frames, and the filter."""
    images = gallery.images
    gone = np.zeros(len(images), bool)
    if cut:
        third = len(stream.times) // 3
        middle = stream.table.take(np.arange(third, 2 * third))
        for rows in positives(middle, images, CLEARED_M):
            gone[rows] = True
    good = [rows[~gone[rows]] for rows in positives(stream.table, images, RADIUS_M)]
    mapped = np.array([len(rows) > 0 for rows in good])
    depth = min(SEARCH_DEPTH + int(gone.sum()), len(images))
    by_all = SequenceFilter(images, confidence_model=model)
    answers: dict[str, list[tuple[float, bool]]] = {"single frame": [], "sequence": []}
    for i, at in enumerate(stream.times):
        scores, rows = (x[0] for x in gallery.search(stream.vectors[i : i + 1], depth))
        kept = ~gone[rows] & (rows >= 0)
        scores, rows = scores[kept][:SEARCH_DEPTH], rows[kept][:SEARCH_DEPTH]
        sure = float(probability(model, evidence(scores, rows, images, RADIUS_M)))
        answers["single frame"].append((sure, rows[0] in good[i]))
        place = by_all.step(scores, rows, time=at, confidence=sure)
        assert place is not None
        row_good = place.row in good[i] and not gone[place.row]
        answers["sequence"].append((place.confidence, row_good))
    lines = []
    for how, pairs in answers.items():
        sure_all, right = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs], bool)
        f = figures(sure_all, sure_all >= model.threshold, right, mapped)
        precision = f"{f.precision_known:.1f}" if (sure_all >= model.threshold).any() else "-"
        r1 = 100.0 * right[mapped].mean() if mapped.any() else 0.0
        lines.append(
            f"| {name}{', part unmapped' if cut else ''} | {how} | {mapped.sum()} + "
            f"{(~mapped).sum()} | {r1:.1f} | {f.r_at_100p:.1f} | {f.coverage:.1f} | "
            f"{precision} | {f.false_known:.1f} | {f.calibration_error:.3f} |"
        )
    return lines


def fit(bundle: Path, gallery: Gallery, tuning: Path) -> ConfidenceModel:
    files, table = folder(tuning)
    vectors = describe(bundle, gallery, files)
    model = fit_vectors(
        gallery._index, gallery.parameters, vectors, table, gallery.images, radius_m=RADIUS_M
    )
    if model is None:
        raise SystemExit(f"{tuning}: too few right or wrong answers to fit a confidence on")
    return model


def cost(count: int) -> str:
    """A step on a map of ``count`` places, a fifth of a kilometre of streets per ten of them."""
    draw = np.random.default_rng(0)
    side = int(np.sqrt(count))
    images = ImageTable.build(
        [""] * count,
        place=np.arange(count),
        easting=4e5 + 20.0 * (np.arange(count) % side) + draw.uniform(-3, 3, count),
        northing=5e6 + 20.0 * (np.arange(count) // side) + draw.uniform(-3, 3, count),
        zone=np.full(count, 33),
    )
    started = time.perf_counter()
    by_all = SequenceFilter(images)
    opened = time.perf_counter() - started
    taken, followed = [], []
    for frame in range(400):
        scores = np.sort(draw.uniform(0.4, 0.8, SEARCH_DEPTH))[::-1].astype(np.float32)
        rows = draw.integers(0, count, SEARCH_DEPTH)
        rows[0] = (side // 2) * side + frame // 20
        started = time.perf_counter()
        by_all.step(scores, rows, time=frame / 10)
        taken.append((time.perf_counter() - started) * 1e3)
        followed.append(len(by_all.tracks))
    p95 = float(np.percentile(taken[50:], 95))
    return (
        f"| {count:,} | {opened:.2f} | {statistics.median(taken[50:]):.3f} | {p95:.3f} | "
        f"{statistics.median(followed):.0f} |"
    )


def corridor(folder: Path, network: Path) -> list[str]:
    """Lines of a table: R@1 of single frames and of the sequence."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(network), options)
    mean = np.array([123.68, 116.779, 103.939], np.float32) / 255

    def descriptors(images: Path) -> NDArray[np.float32]:
        found = []
        for path in sorted(images.glob("*.jpg")):
            image = read_image(path).astype(np.float32) / 255 - mean
            found.append(session.run(None, {"image": image.transpose(2, 0, 1)[None]})[0][0])
        return np.array(found, np.float32)

    similar = descriptors(folder / "query") @ descriptors(folder / "ref").T
    count = similar.shape[1]
    cases: list[tuple[str, float | None, float]] = [("no positions", None, 1.0)]
    for speed in (2.0, 5.0, 10.0):
        cases.append((f"{speed:g} m/s, a frame a second", speed, 1.0))
        cases.append((f"{speed:g} m/s, a frame a metre", 1.0, 1.0 / speed))
    lines = []
    for name, spacing, interval in cases:
        images = ImageTable.build(
            [""] * count,
            place=np.arange(count),
            easting=None if spacing is None else 4e5 + spacing * np.arange(count),
            northing=None if spacing is None else np.full(count, 5e6),
            zone=np.full(count, 33),
        )
        by_all = SequenceFilter(images)
        single, sequence = [], []
        for i, row in enumerate(similar):
            rows = np.argsort(-row, kind="stable")[:SEARCH_DEPTH]
            place = by_all.step(row[rows], rows, time=i * interval)
            assert place is not None
            single.append(abs(int(rows[0]) - i) <= 2)
            sequence.append(abs(place.row - i) <= 2)
        lines.append(
            f"| corridor, {name} | {100 * np.mean(single):.1f} | {100 * np.mean(sequence):.1f} |"
        )
    return lines


def print_cost() -> None:
    print("| places | opening s | step ms p50 | p95 | tracks |\n|---|---|---|---|---|")
    for count in (1_000, 10_000, 100_000):
        print(cost(count), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, nargs="?")
    parser.add_argument("--corridor", type=Path)
    parser.add_argument("--onnx", type=Path, help="network that describes the corridor")
    parser.add_argument("--cost", action="store_true", help="only what a step costs")
    parser.add_argument("--bundle", default="cpu-fp32")
    parser.add_argument("--other", default="cpu-int8")
    parser.add_argument("--real", type=Path)
    parser.add_argument("--real-bundle", default="gallery-fp32")
    args = parser.parse_args()
    if args.corridor and args.onnx:
        print("| frames | single frame R@1 | sequence R@1 |\n|---|---|---|")
        print("\n".join(corridor(args.corridor, args.onnx)), flush=True)
    if args.cost:
        print_cost()
    if args.demo is None:
        return
    out: Path = args.demo
    gallery, bundle, other = (
        Gallery(out / "gallery"), out / "bundles" / args.bundle, out / "bundles" / args.other,
    )  # fmt: skip
    tests = out / "city" / "images" / "test"
    model = fit(bundle, gallery, tests / "tuning")
    print(f"{platform.machine()}, {os.cpu_count()} cores, engine on one thread; map of "
          f"{len(gallery.images):,} images; fitted on {model.mapped} mapped and "
          f"{model.unmapped} unmapped frames: R@100P {model.r_at_100p:.1f}, coverage "
          f"{model.coverage:.1f}, precision of known {model.precision_known or 0:.1f}, "
          f"calibration error {model.calibration_error:.3f}\n")  # fmt: skip
    print("| frames | answered by | mapped + unmapped | R@1 | R@100P | known: coverage | "
          "precision | unmapped called known | calibration error |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    queries = way(bundle, gallery, tests / "queries")
    video = drive(bundle, gallery, out / "city" / "drive")
    for name, stream in (
        ("way", queries), ("drive", video), ("drive, 1 a second", every(video, 10)),
    ):  # fmt: skip
        for cut in (False, True):
            print("\n".join(judge(name, stream, gallery, model, cut)), flush=True)
    if args.real:
        building = Gallery(args.real / "gallery")
        engine = args.real / "bundles" / args.real_bundle
        real = fit(engine, building, args.real / "data" / "tuning" / "queries")
        files, table = folder(args.real / "data" / "walks" / "queries")
        walks = Stream(
            describe(engine, building, files), table, [float(i) for i in range(len(table))]
        )
        for cut in (False, True):
            print("\n".join(judge("walks", walks, building, real, cut)), flush=True)

    theirs = describe(other, gallery, folder(tests / "queries")[0])
    ours = describe(bundle, gallery, folder(tests / "queries")[0])
    sure = [
        np.array([
            float(probability(model, evidence(s, r, gallery.images, RADIUS_M)))
            for s, r in zip(*gallery.search(vectors), strict=True)
        ])
        for vectors in (ours, theirs)
    ]  # fmt: skip
    apart = np.abs(sure[0] - sure[1])
    changed = 100.0 * ((sure[0] >= model.threshold) != (sure[1] >= model.threshold))
    print(f"\n{args.other} beside {args.bundle}, the same confidence model, {len(apart)} frames: "
          f"confidence differs by {apart.mean():.3f} (95 % below {np.percentile(apart, 95):.3f}), "
          f"known changes for {changed.mean():.1f} %\n")  # fmt: skip
    print_cost()


if __name__ == "__main__":
    main()
