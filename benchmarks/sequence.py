"""Sequence filter, and SeqSLAM, against single frames.

    python benchmarks/sequence.py CITY... --bundle BUNDLE [--other BUNDLE] [--real REAL_OUT]
        [--corridor CORRIDOR --onnx NETWORK.onnx]
    python benchmarks/sequence.py --cost

CITY is a folder of ``edgevpr city``, REAL_OUT that of ``benchmarks/real_frames.py``. Map and frames
are described by the engine of ``--bundle`` and searched exactly. The confidence is fitted on each
city's tuning images and measured on images it has not seen:

* way: the test queries, one after the other, always on to the nearest not shown yet, at 7 m/s.
  Held-out images of the same kind as the tuning images: what the confidence promises should hold.
* drive: the city's video at 10 frames a second and at 1; another light, another view of the streets
  than any image of the map, so that confidences are carried to a domain they were not fitted on.
* walks: held-out walks of REAL_OUT, 1 frame a second, one after the other: the robot is carried to
  another place about every 20 s, and places have no positions. Fitted on REAL_OUT's tuning images.

* corridor: CORRIDOR/query against the map of CORRIDOR/ref, described by NETWORK.onnx (RGB/255 less
  the ImageNet mean), with positions 2, 5 and 10 m apart and a frame a second, 1 m apart at those
  speeds, and without positions; right within two images. No confidence model.

The first three each with the whole map, and with what lies within 50 m of the middle third of the
frames taken out of it, or of the first two thirds, so that these frames show places the map does
not hold; the last and everything about R@1 with and without a confidence model. R@1 is of frames
whose place is in the map: answered within 25 m (walks: with the place id). Known: confidence at or
above the model's threshold, chosen for 99 % precision on the tuning images. SeqSLAM
(``seqslam.py``) has neither a confidence nor a way to say that no place is right.

Then the same confidences from another engine of the same network (``--other``), and what a step of
the filter costs on maps of 1,000 to 100,000 places.
"""

import argparse
import csv
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from seqslam import seqslam

from edgevpr.artifacts.records import ConfidenceModel
from edgevpr.compile.index.fit_confidence import fit_vectors
from edgevpr.data import read_images
from edgevpr.places.positives import positives
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import read_image
from edgevpr.retrieval.confidence import evidence, figures, probability
from edgevpr.retrieval.exact import SEARCH_DEPTH
from edgevpr.runtime import SequenceFilter, open_bundle, runner_from_bundle
from edgevpr.runtime.sequence_layout import Layout

RADIUS_M, CLEARED_M = 25.0, 50.0
WALK_M_S = 7.0


@dataclass(frozen=True)
class Stream:
    """F frames in order: descriptors in the index's space, where and when they were taken."""

    vectors: NDArray[np.float32]
    table: ImageTable
    times: list[float]


@dataclass(frozen=True)
class Map:
    """N images of a map, their descriptors, and the confidence fitted on its tuning images."""

    vectors: NDArray[np.float32]
    images: ImageTable
    model: ConfidenceModel


def describe(bundle: Path, frames: Sequence[Any]) -> NDArray[np.float32]:
    """Paths or RGB images through the bundle's engine."""
    opened = open_bundle(bundle)
    found = []
    with runner_from_bundle(opened.artifact, opened.record, threads=1) as runner:
        for frame in frames:
            image = read_image(frame) if isinstance(frame, Path) else frame
            small = np.ascontiguousarray(opened.record.preprocess.resize(image)[None])
            found.append(runner.infer(small)[0])
    return np.array(found, np.float32)


def folder(path: Path) -> tuple[list[Path], ImageTable]:
    table = read_images(path)
    return [path / p for p in table.paths], table


def way(bundle: Path, path: Path) -> Stream:
    files, table = folder(path)
    left, order, times = np.ones(len(table), bool), [0], [0.0]
    left[0] = False
    while left.any():
        away = np.hypot(*(table.xy - table.xy[order[-1]]).T)
        nearest = int(np.argmin(np.where(left, away, np.inf)))
        times.append(times[-1] + max(float(away[nearest]) / WALK_M_S, 0.1))
        order.append(nearest)
        left[nearest] = False
    vectors = describe(bundle, [files[i] for i in order])
    return Stream(vectors, table.take(order), times)


def drive(bundle: Path, path: Path) -> Stream:
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
    return Stream(describe(bundle, frames), table.take(range(count)), times)


def every(stream: Stream, step: int) -> Stream:
    rows = np.arange(0, len(stream.times), step)
    return Stream(stream.vectors[rows], stream.table.take(rows), [stream.times[i] for i in rows])


def clear(stream: Stream, images: ImageTable, cut: str) -> NDArray[np.bool_]:
    """(N,) images that are taken out of the map: around "a third" or "two thirds" of the frames."""
    gone = np.zeros(len(images), bool)
    if cut:
        third = len(stream.times) // 3
        where = (third, 2 * third) if cut == "a third" else (0, 2 * third)
        for rows in positives(stream.table.take(np.arange(*where)), images, CLEARED_M):
            gone[rows] = True
    return gone


def judge(name: str, stream: Stream, known: Map, cut: str = "") -> list[str]:
    """Lines of the table: single frames, the filter with and without the model, SeqSLAM."""
    images, model = known.images, known.model
    gone = clear(stream, images, cut)
    similar = stream.vectors @ known.vectors.T
    similar[:, gone] = -np.inf
    good = [rows[~gone[rows]] for rows in positives(stream.table, images, RADIUS_M)]
    mapped = np.array([len(rows) > 0 for rows in good])
    filters = {
        "`--sequence`": SequenceFilter(images, kept=~gone, confidence_model=model),
        "`--sequence`, no model": SequenceFilter(images, kept=~gone),
    }
    answers: dict[str, list[tuple[float, int]]] = {"single frame": [], **{h: [] for h in filters}}
    for scores_all, at in zip(similar, stream.times, strict=True):
        rows = np.argsort(-scores_all, kind="stable")[:SEARCH_DEPTH]
        rows = rows[np.isfinite(scores_all[rows])]
        scores = scores_all[rows]
        sure = float(probability(model, evidence(scores, rows, images, RADIUS_M)))
        answers["single frame"].append((sure, int(rows[0])))
        for how, by_all in filters.items():
            told = sure if by_all.calibrated else None
            place = by_all.step(scores, rows, time=at, confidence=told)
            assert place is not None
            answers[how].append((place.confidence, place.row))
    layout = Layout.of(images, ~gone)
    answers["SeqSLAM"] = [
        (0.0, row)
        for row in seqslam(
            similar.astype(float), layout.xy, stream.times,
            spacing=layout.spacing, in_metres=layout.in_metres,
        )
    ]  # fmt: skip
    out = {"": "", "a third": ", a third off the map", "two thirds": ", two thirds off the map"}
    lines = []
    for how, pairs in answers.items():
        right = np.array([row in good[i] for i, (_, row) in enumerate(pairs)], bool)
        r1 = 100.0 * right[mapped].mean() if mapped.any() else 0.0
        line = f"| {name}{out[cut]} | {how} | {mapped.sum()} + {(~mapped).sum()} | {r1:.1f} |"
        if how in ("single frame", "`--sequence`"):
            sure_all = np.array([p[0] for p in pairs])
            f = figures(sure_all, sure_all >= model.threshold, right, mapped)
            precision = "-" if f.precision_known is None else f"{f.precision_known:.1f}"
            line += (
                f" {f.r_at_100p:.1f} | {f.coverage:.1f} | {precision} | {f.false_known:.1f} | "
                f"{f.calibration_error:.3f} |"
            )
        else:
            line += " | | | | |"
        lines.append(line)
    return lines


def read_map(bundle: Path, database: Path, tuning: Path) -> Map:
    files, images = folder(database)
    vectors = describe(bundle, files)
    files, table = folder(tuning)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    model = fit_vectors(index, "", describe(bundle, files), table, images, radius_m=RADIUS_M)
    if model is None:
        raise SystemExit(f"{tuning}: too few right or wrong answers to fit a confidence on")
    return Map(vectors, images, model)


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
    """Lines of a table: R@1 of single frames, of the sequence and of SeqSLAM."""
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
        by_all, layout = SequenceFilter(images), Layout.of(images)
        times = [i * interval for i in range(len(similar))]
        single, sequence = [], []
        for i, row in enumerate(similar):
            rows = np.argsort(-row, kind="stable")[:SEARCH_DEPTH]
            place = by_all.step(row[rows], rows, time=times[i])
            assert place is not None
            single.append(abs(int(rows[0]) - i) <= 2)
            sequence.append(abs(place.row - i) <= 2)
        found = seqslam(
            similar.astype(float), layout.xy, times,
            spacing=layout.spacing, in_metres=layout.in_metres, lag_s=0.1,
        )  # fmt: skip
        slam = [abs(row - i) <= 2 for i, row in enumerate(found)]
        r1 = " | ".join(f"{100 * np.mean(right):.1f}" for right in (single, sequence, slam))
        lines.append(f"| corridor, {name} | {r1} |")
    return lines


def print_cost() -> None:
    print("| places | opening s | step ms p50 | p95 | tracks |\n|---|---|---|---|---|")
    for count in (1_000, 10_000, 100_000):
        print(cost(count), flush=True)


def compare(bundle: Path, other: Path, city: Path, known: Map) -> None:
    """Print how far the confidences of two engines of one network are apart."""
    queries = folder(city / "images" / "test" / "queries")[0]
    sure = []
    for vectors in (describe(engine, queries) for engine in (bundle, other)):
        similar = vectors @ known.vectors.T
        rows = np.argsort(-similar, axis=1, kind="stable")[:, :SEARCH_DEPTH]
        scores = np.take_along_axis(similar, rows, axis=1)
        found = [
            probability(known.model, evidence(s, r, known.images, RADIUS_M))
            for s, r in zip(scores, rows, strict=True)
        ]
        sure.append(np.array(found))
    apart = np.abs(sure[0] - sure[1])
    changed = (sure[0] >= known.model.threshold) != (sure[1] >= known.model.threshold)
    print(f"\n{other} beside {bundle}, the same confidence model, {len(apart)} frames of {city}: "
          f"confidence differs by {apart.mean():.3f} (95 % below {np.percentile(apart, 95):.3f}), "
          f"known changes for {100.0 * changed.mean():.1f} %\n")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cities", type=Path, nargs="*")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--corridor", type=Path)
    parser.add_argument("--onnx", type=Path, help="network that describes the corridor")
    parser.add_argument("--cost", action="store_true", help="only what a step costs")
    parser.add_argument("--real", type=Path)
    parser.add_argument("--real-bundle", default="gallery-fp32")
    args = parser.parse_args()
    if args.corridor and args.onnx:
        print("| frames | single frame R@1 | sequence R@1 | SeqSLAM R@1 |\n|---|---|---|---|")
        print("\n".join(corridor(args.corridor, args.onnx)), flush=True)
    if args.cost:
        print_cost()
    for number, city in enumerate(args.cities):
        tests = city / "images" / "test"
        known = read_map(args.bundle, tests / "database", tests / "tuning")
        print_head(str(city), known)
        queries = way(args.bundle, tests / "queries")
        video = drive(args.bundle, city / "drive")
        for name, stream in (
            ("way", queries), ("drive", video), ("drive, 1 a second", every(video, 10)),
        ):  # fmt: skip
            for cut in ("", "a third", "two thirds"):
                print("\n".join(judge(name, stream, known, cut)), flush=True)
        if args.other and not number:
            compare(args.bundle, args.other, city, known)
    if args.real:
        data, engine = args.real / "data", args.real / "bundles" / args.real_bundle
        files, table = folder(data / "walks" / "queries")
        building = read_map(engine, data / "walks" / "database", data / "tuning" / "queries")
        print_head(str(args.real), building)
        walks = Stream(describe(engine, files), table, [float(i) for i in range(len(table))])
        for cut in ("", "a third"):
            print("\n".join(judge("walks", walks, building, cut)), flush=True)


def print_head(name: str, known: Map) -> None:
    model = known.model
    print(f"\n{name}: {platform.machine()}, engine on one thread; map of "
          f"{len(known.images):,} images; fitted on {model.mapped} mapped and "
          f"{model.unmapped} unmapped frames: R@100P {model.r_at_100p:.1f}, coverage "
          f"{model.coverage:.1f}, precision of known {model.precision_known or 0:.1f}, "
          f"calibration error {model.calibration_error:.3f}\n")  # fmt: skip
    print("| frames | answered by | mapped + unmapped | R@1 | R@100P | known: coverage | "
          "precision | unmapped called known | calibration error |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|", flush=True)


if __name__ == "__main__":
    main()
