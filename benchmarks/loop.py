"""Time, memory and age that the loop adds to the engine, with everything real but the camera.

    python benchmarks/loop.py DEMO_OUT [--bundle cpu-int8] [--frames 5000] [--memory-frames 20000]
        [--seconds 30]

DEMO_OUT is the folder of a finished ``edgevpr demo``: its bundle, its gallery, and the frames of
its drive video, scaled to 640x480. They come through the class that reads live cameras, with its
thread, from a capture object in the place of the driver:

* overhead: the next frame comes when the last answer has been written, so that nothing waits.
  End to end is from the pixels being there to the answer's line being in the file. With an engine
  of one thread, and with one that takes every core.
* memory: the run of one thread goes on, and as many JPEG files are read from disk and answered;
  resident memory every 500 frames after the first 1,000. Growth is the median of the last ten
  readings over that of the first ten.
* age: a camera of 60 frames a second and an engine slowed to 15, on the real clock. The age of a
  frame is from its pixels being there to its answer's line being in the file. The camera goes on
  to the end of the run: the last frame of one that stops may wait for a whole engine time.
* swap: a camera of 30 frames a second; at the 100th the gallery is replaced by a copy of itself,
  opened beside the running one, compared on 30 frames, and swapped to.
* overlap: files with a slow decoder, engine or sink, which sleep as a disk, a GPU or a network
  would, beside the same work one after the other.
"""

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgevpr import runtime
from edgevpr.device.cpu import processor
from edgevpr.files import write_atomic
from edgevpr.runtime import Answer, Frame, FrameError
from edgevpr.runtime.sources.frames import ImageFiles
from edgevpr.runtime.sources.live import LiveSource

SIZE = (640, 480)
ENGINE_S = 1 / 15
CAMERA_S = 1 / 60


class Capture:
    """In the place of ``cv2.VideoCapture``: frames on demand, or at a fixed rate."""

    def __init__(self, images: list[Any], count: int, every_s: float = 0.0) -> None:
        self._images, self._left, self._every_s = images, count, every_s
        self._next = time.monotonic()
        self.wanted = threading.Semaphore(1)

    def grab(self) -> bool:
        if self._every_s:
            self._next += self._every_s
            time.sleep(max(0.0, self._next - time.monotonic()))
        else:
            self.wanted.acquire()
        self._left -= 1
        # A copy: a driver fills a new buffer for every frame, and then says that it is there.
        self._frame = self._images[self._left % len(self._images)].copy()
        return self._left >= 0

    def retrieve(self) -> tuple[bool, Any]:
        return True, self._frame

    def release(self) -> None:
        pass


class Timed:
    """Writes to the JSON lines file, and then looks at the clock and at the memory."""

    def __init__(self, file: runtime.JsonLinesFile, capture: Capture | None = None) -> None:
        self._file, self._capture = file, capture
        # arrays of doubles: as lists they would be most of what the memory grows by
        self.end_to_end_ms = array("d")
        self.engine_ms = array("d")
        self.rss_mb: list[float] = []

    def write(self, answer: Answer | FrameError, frame: Frame) -> None:
        self._file.write(answer, frame)
        age = (time.monotonic() - frame.captured) * 1e3
        assert isinstance(answer, Answer)
        self.end_to_end_ms.append(age)
        self.engine_ms.append(answer.ms.engine)
        if len(self.engine_ms) % 500 == 0:
            self.rss_mb.append(resident_mb())
        if self._capture:
            self._capture.wanted.release()


class Slowed:
    """A runner that takes ``seconds``; what is left of them it sleeps, as if a GPU worked."""

    def __init__(self, runner: runtime.Runner, seconds: float) -> None:
        self._runner, self._seconds = runner, seconds
        self.device = runner.device

    def __enter__(self) -> "Slowed":
        self._runner.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._runner.__exit__(*error)

    def infer(self, images: Any) -> Any:
        end = time.monotonic() + self._seconds
        row = self._runner.infer(images)
        time.sleep(max(0.0, end - time.monotonic()))
        return row


class Files:
    """Frames one after the other, each after ``seconds`` of decoding."""

    live = False
    drops = 0
    remark = ""

    def __init__(self, images: list[Any], count: int, seconds: float) -> None:
        self._images, self._count, self._seconds = images, count, seconds

    def __enter__(self) -> "Files":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def frames(self, stop: threading.Event) -> Generator[Frame, None, None]:
        for i in range(self._count):
            time.sleep(self._seconds)
            yield Frame(i, "f", self._images[i % len(self._images)], time.monotonic(), None, 0.0)


class SlowSink:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def write(self, answer: Answer | FrameError, frame: Frame) -> None:
        time.sleep(self._seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path)
    parser.add_argument("--bundle", default="cpu-int8")
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--memory-frames", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=30.0)
    args = parser.parse_args()
    images = drive_frames(args.demo)

    def localizer(
        engine_s: float = 0.0, threads: int = 1, gallery: Path = args.demo / "gallery"
    ) -> runtime.Localizer:
        bundle = args.demo / "bundles" / args.bundle
        opened = runtime.open_localizer(bundle, gallery, threads=threads)
        if engine_s:
            opened.runner = Slowed(opened.runner, engine_s)
        return opened

    print(machine(args.bundle))
    print(
        f"\n| {args.frames} frames of 640x480, engine threads | engine p50, p99 ms | end to end "
        "p50, p95, p99 ms | difference of p50 (goal <= 1.0) | p99 / p50 (goal <= 2) |"
    )
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        many = live(localizer(threads=0), Capture(images, args.frames), out)
        print_overhead("every core", many)
        most = max(args.frames, args.memory_frames)
        one = live(localizer(threads=1), Capture(images, most), out)
        print_overhead("1", one, args.frames)
        print_memory("a camera", one)
        print_memory("files", files(localizer(), images, args.memory_frames, out))
        camera = Capture(images, sys.maxsize, CAMERA_S)
        print_age(live(localizer(ENGINE_S), camera, out, round(args.seconds / ENGINE_S)))
        print_swap(images, localizer, args.demo / "gallery", out)
    print_overlap(images, localizer)


def live(
    localizer: runtime.Localizer, capture: Capture, out: Path, limit: int | None = None
) -> Timed:
    with (
        LiveSource(capture, "camera") as source,
        runtime.JsonLinesFile(out / "answers.jsonl") as file,
        runtime.LocalizerThread(lambda: localizer) as worker,
    ):
        sink = Timed(file, capture)
        runtime.run(source, worker, sink, limit=limit)
    return sink


def files(localizer: runtime.Localizer, images: list[Any], count: int, out: Path) -> Timed:
    """A folder of JPEG files, as ``edgevpr run FOLDER`` reads it."""
    paths = [out / f"{i:02d}.jpg" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image)
    with (
        ImageFiles((paths * (count // len(paths) + 1))[:count]) as source,
        runtime.JsonLinesFile(out / "files.jsonl") as file,
        runtime.LocalizerThread(lambda: localizer) as worker,
    ):
        sink = Timed(file)
        runtime.run(source, worker, sink)
    return sink


def print_overhead(threads: str, sink: Timed, count: int | None = None) -> None:
    p50, p95, p99 = np.percentile(sink.end_to_end_ms[:count], [50, 95, 99])
    engine = np.percentile(sink.engine_ms[:count], [50, 99])
    print(f"| {threads} | {engine[0]:.3f}, {engine[1]:.3f} | {p50:.3f}, {p95:.3f}, {p99:.3f} | "
          f"{p50 - engine[0]:.3f} | {p99 / p50:.2f} |", flush=True)  # fmt: skip


def print_memory(what: str, sink: Timed) -> None:
    readings = sink.rss_mb[2:]
    if len(readings) < 20:
        print(
            f"\nMemory, {what}: {len(sink.engine_ms)} frames are too few, expected 11,000 or more."
        )
        return
    first, last = statistics.median(readings[:10]), statistics.median(readings[-10:])
    print(f"\nResident memory, {what}, over {len(sink.engine_ms)} frames: {first:.1f} MB at first, "
          f"{last:.1f} MB at last, growth {100 * (last / first - 1):.2f} % (goal <= 2 %), "
          f"most {max(readings):.1f} MB.", flush=True)  # fmt: skip


def print_age(sink: Timed) -> None:
    engine = statistics.median(sink.engine_ms)
    worst = max(sink.end_to_end_ms)
    print(
        f"\nAge, camera of 60 frames a second, engine of {engine:.1f} ms: {len(sink.engine_ms)} "
        f"answers, median age {statistics.median(sink.end_to_end_ms):.1f} ms, largest "
        f"{worst:.1f} ms = {worst / engine:.2f} engine times (goal <= 2).",
        flush=True,
    )


def print_swap(images: list[Any], localizer: Any, gallery: Path, out: Path) -> None:
    copy = out / "gallery"
    shutil.copytree(gallery, copy)
    lines: list[str] = []
    swap = runtime.Swap(
        lambda: localizer(gallery=copy), [copy], lines.append, limits=runtime.Limits(max_slowdown=9)
    )
    count, changed_at = 400, 100

    class Changing(Timed):
        def write(self, answer: Answer | FrameError, frame: Frame) -> None:
            super().write(answer, frame)
            if len(self.engine_ms) == changed_at:
                manifest = copy / "manifest.json"
                write_atomic(manifest, manifest.read_bytes() + b"\n")
                swap.request()
            if lines and not self.swapped_at:
                self.swapped_at = len(self.engine_ms)

        swapped_at = 0

    with (
        LiveSource(Capture(images, count, CAMERA_S * 2), "camera") as source,
        runtime.JsonLinesFile(out / "swap.jsonl") as file,
        runtime.LocalizerThread(lambda: localizer(gallery=copy)) as worker,
    ):
        sink = Changing(file)
        runtime.run(source, worker, sink, swap=swap)
    at, ages = sink.swapped_at, sink.end_to_end_ms
    print("\nSwap: " + ("; ".join(lines).replace(str(copy), "gallery") or "none, too slow here"))
    parts = {"before": ages[:changed_at], "meanwhile": ages[changed_at:at], "after": ages[at:]}
    print("\n| frame age, ms | frames | p50 | largest |\n|---|---|---|---|")
    for name, part in parts.items():
        if part:
            print(f"| {name} | {len(part)} | {statistics.median(part):.1f} | {max(part):.1f} |")


def print_overlap(images: list[Any], localizer: Any, count: int = 200) -> None:
    print("\n| files: decoder, engine, sink, ms a frame | overlapped, frames/s | one after the "
          "other, frames/s | ratio |")  # fmt: skip
    print("|---|---|---|---|")
    for decode, engine, sink in ((8, 3, 0), (0, 8, 8), (8, 8, 8), (0, 8, 0), (4, 0, 0), (0, 0, 0)):
        together = rate(localizer(engine / 1e3), images, count, decode / 1e3, sink / 1e3, True)
        apart = rate(localizer(engine / 1e3), images, count, decode / 1e3, sink / 1e3, False)
        shown = engine or "as it is"
        print(f"| {decode}, {shown}, {sink} | {together:.1f} | {apart:.1f} | "
              f"{together / apart:.2f} |", flush=True)  # fmt: skip


def rate(
    localizer: runtime.Localizer,
    images: list[Any],
    count: int,
    decode_s: float,
    sink_s: float,
    overlapped: bool,
) -> float:
    source, sink = Files(images, count, decode_s), SlowSink(sink_s)
    if overlapped:
        with runtime.LocalizerThread(lambda: localizer) as worker:
            started = time.monotonic()
            runtime.run(source, worker, sink)
            return count / (time.monotonic() - started)
    with localizer:
        started = time.monotonic()
        for frame in source.frames(threading.Event()):
            sink.write(localizer.answer(frame), frame)
        return count / (time.monotonic() - started)


def drive_frames(demo: Path, count: int = 64) -> list[Any]:
    """The first frames of the demo's drive, (480, 640, 3) uint8 BGR."""
    return [cv2.resize(image, SIZE) for image, _ in zip(_read(demo), range(count), strict=False)]


def _read(demo: Path) -> Iterator[Any]:
    (video,) = (p for p in (demo / "city").rglob("*") if p.suffix in (".mp4", ".avi", ".mkv"))
    capture = cv2.VideoCapture(str(video))
    while (read := capture.read())[0]:
        yield read[1]


def resident_mb() -> float:
    with open("/proc/self/statm") as stream:  # noqa: PTH123
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def machine(bundle: str) -> str:
    import faiss
    import onnxruntime

    return (
        f"{processor()}, {len(os.sched_getaffinity(0))} cores, load "
        f"{os.getloadavg()[0]:.1f} before; Python {platform.python_version()}, ONNX Runtime "
        f"{onnxruntime.__version__}, FAISS {faiss.__version__}, OpenCV {cv2.__version__}; bundle "
        f"{bundle}."
    )


if __name__ == "__main__":
    sys.exit(main())
