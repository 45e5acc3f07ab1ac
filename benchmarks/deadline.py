"""Deadlines under a load that doubles half way: fixed exits beside the one that adapts.

    python benchmarks/deadline.py BUNDLE GALLERY IMAGES [--frames 600] [--threads 1]
        [--deadlines 20,30,45] [--pace 0] [--seed 0] [--json OUT.json]

BUNDLE has early exits (``edgevpr compile`` of a model with some), IMAGES are query images with
positions, taken in an order drawn by the seed and again from the start where they are few. One
frame is answered after the other through ``Localizer``, decoded beforehand; its age counts from
the start of its preprocessing. From the middle on every graph takes twice as long: the runner
waits, busy, as long again as it took, which is what a throttled board or a second load on its
cores looks like from inside.

On a machine that others use, times scatter by more than exits differ, and everything is late or
nothing. With ``--pace F`` an exit takes F times the median that ``bundle.json`` says for it, and
twice that from the middle on; what is left of it after the engine is slept. The descriptors,
searches and choices are real all the same.

A deadline is missed by an answer that comes after it. "Right in time" is the share of frames whose
best image is within the radius and whose answer was not late: what a robot gets. Without
``--deadlines`` they are 0.6 to 2.6 times the time of the whole path without load. The adaptive
policy passes at a deadline if no fixed exit that misses more than 1 % is right in time more often,
or misses less.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgevpr import runtime
from edgevpr.device.cpu import processor
from edgevpr.errors import DataError, UsageError
from edgevpr.profiles.labelled_frames import read_frames
from edgevpr.runtime import Answer, Frame

FACTORS = (0.6, 0.8, 1.0, 1.2, 1.5, 1.8, 2.2, 2.6)
MISSES = 1.0


class Loaded:
    """A runner whose every answer takes ``factor`` times as long.

    Args:
        paced: seconds of each exit, in place of its own.
    """

    def __init__(self, runner: Any, paced: dict[str, float]) -> None:
        self._runner = runner
        self._paced = paced
        self.factor = 1.0
        self.device, self.exits = runner.device, runner.exits

    def __enter__(self) -> "Loaded":
        self._runner.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._runner.__exit__(*error)

    def start(self, images: Any) -> None:
        self._runner.start(images)

    def at(self, exit: str) -> Any:
        started = time.perf_counter()
        row = self._runner.at(exit)
        own = time.perf_counter() - started
        end = started + self.factor * self._paced.get(exit, own)
        if self._paced:
            time.sleep(max(0.0, end - time.perf_counter()))
        while time.perf_counter() < end:
            pass
        return row

    def infer(self, images: Any) -> Any:
        return self._runner.infer(images)


@dataclass(frozen=True)
class Run:
    """(N,) of one way to choose exits: ages in ms, right answers, exits."""

    ages_ms: np.ndarray
    right: np.ndarray
    exits: list[str]

    def at(self, deadline_ms: float) -> dict[str, float]:
        late = self.ages_ms > deadline_ms
        return {
            "r1": 100 * float(self.right.mean()),
            "in_time": 100 * float((self.right & ~late).mean()),
            "misses": 100 * float(late.mean()),
            "ms": float(self.ages_ms.mean()),
        }


class Drive:
    """Decoded query images, and which gallery images answer each."""

    def __init__(
        self,
        images: Path,
        gallery: runtime.Gallery,
        frames: int,
        seed: int,
        paced: dict[str, float],
    ) -> None:
        self._paced = paced
        read = read_frames(images, limit=frames)
        positives = read.answers(gallery.images, 25.0)
        if positives is None:
            raise DataError(
                f"found {images} without positions ({read.unlabelled}), expected query images that "
                "carry theirs: pass a folder of them as `images`"
            )
        known = [i for i, found in enumerate(positives) if len(found)]
        order = np.random.default_rng(seed).permutation(known)
        self.order = np.resize(order, frames)
        self._images = {int(i): cv2.imread(str(read.frames[i])) for i in set(self.order.tolist())}
        rows = {path: row for row, path in enumerate(gallery.images.paths)}
        self._right = [set(found.tolist()) for found in positives]
        self._rows = rows

    def run(self, bundle: Path, gallery: runtime.Gallery, exit: str, threads: int) -> Run:
        localizer = runtime.open_localizer(bundle, gallery, exit=exit, threads=threads, live=True)
        loaded = Loaded(localizer.runner, self._paced)
        localizer.runner = loaded
        ages, right, exits = [], [], []
        with localizer:
            for number, image in enumerate(self.order.tolist()):
                loaded.factor = 2.0 if number >= len(self.order) / 2 else 1.0
                frame = Frame(number, "q", self._images[image], time.monotonic(), None, 0.0)
                answer = localizer.answer(frame)
                if not isinstance(answer, Answer):
                    raise SystemExit(answer.error)
                ages.append(answer.frame_age_ms)
                right.append(self._rows[answer.top[0].image] in self._right[image])
                exits.append(str(answer.exit))
        return Run(np.array(ages), np.array(right), exits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("gallery", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--deadlines", help="ms, separated by commas")
    parser.add_argument("--pace", type=float, default=0.0, metavar="F")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    record = runtime.open_bundle(args.bundle).record
    names = [each.name for each in record.exits]
    if not names:
        raise UsageError(f"found {args.bundle} without early exits, expected some: compile a model "
                         "that has them")  # fmt: skip
    gallery = runtime.open_gallery(args.gallery)
    paced = {}
    if args.pace:
        paced = {each.name: args.pace * (each.ms_p50 or 0.0) / 1e3 for each in record.exits}
    drive = Drive(args.images, gallery, args.frames, args.seed, paced)
    fixed = {name: drive.run(args.bundle, gallery, name, args.threads) for name in names}
    whole = float(np.median(fixed["full"].ages_ms[: args.frames // 2]))
    deadlines = [factor * whole for factor in FACTORS]
    if args.deadlines:
        deadlines = [float(each) for each in args.deadlines.split(",")]
    print(
        f"{processor()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} "
        f"after; {args.frames} frames, threads {args.threads or 'all'}, seed {args.seed}, pace "
        f"{args.pace:g}; whole "
        f"path {whole:.1f} ms without load\n"
    )
    print("| deadline ms | exit | R@1 | right in time % | missed % | mean ms | exits chosen % |")
    print("|--:|---|--:|--:|--:|--:|---|")
    rows, failed = [], []
    for deadline in deadlines:
        adaptive = drive.run(args.bundle, gallery, f"deadline:{deadline}", args.threads)
        figures = {name: run.at(deadline) for name, run in fixed.items()}
        ours = adaptive.at(deadline)
        for name, each in figures.items():
            rows.append({"deadline_ms": deadline, "exit": name, **each})
            print_row(deadline, name, each)
            if each["misses"] > MISSES and (
                each["in_time"] > ours["in_time"] or each["misses"] < ours["misses"]
            ):
                failed.append(f"{name} at {deadline:.1f} ms")
        chosen = {name: 100 * adaptive.exits.count(name) / len(adaptive.exits) for name in names}
        rows.append({"deadline_ms": deadline, "exit": "adaptive", **ours, "chosen": chosen})
        words = ", ".join(f"{name} {share:.0f}" for name, share in chosen.items())
        print_row(deadline, "adaptive", ours, words)
    verdict = "not dominated: " + "; ".join(failed) if failed else "all dominated"
    print(f"\nFixed exits that miss more than {MISSES:g} %: {verdict}.")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


def print_row(deadline: float, name: str, figures: dict[str, float], chosen: str = "") -> None:
    print(
        f"| {deadline:.1f} | {name} | {figures['r1']:.1f} | {figures['in_time']:.1f} | "
        f"{figures['misses']:.1f} | {figures['ms']:.1f} | {chosen} |",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
