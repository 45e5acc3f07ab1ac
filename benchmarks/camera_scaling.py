"""Cost of --pipeline-scale: descriptors beside those of unscaled frames, CPU time.

    python benchmarks/camera_scaling.py DEMO_OUT FRAMES [--bundle cpu-fp32] [--count 200]

DEMO_OUT is the folder of a finished ``edgevpr demo``; FRAMES a folder of JPEGs larger than the
network's input. Needs GStreamer with PyGObject (``edgevpr doctor``).

* descriptors: every frame is decoded twice by GStreamer, once at its own size and once scaled by
  the pipeline to twice the network's input; ``Preprocess.resize`` does the rest of both. Stated are
  the cosine between the two descriptors, and how often the best image of the gallery is the same.
* CPU: milliseconds of all threads of this process for a frame of a test picture in I420, to BGR
  and resized, without and with the option. ``videoscale`` and ``videoconvert`` run on the CPU
  here; a Jetson's ``nvvidconv`` does not, and filters in its own way.
"""

import argparse
import platform
import threading
import time
from pathlib import Path

import cv2
import numpy as np

from edgevpr import runtime
from edgevpr.preprocess import Preprocess
from edgevpr.runtime.sources import gst

CAMERAS = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160))


def frame(path: Path, preprocess: Preprocess, size: tuple[int, int] | None) -> np.ndarray:
    """(1, H, W, 3) uint8 RGB as the engine gets it."""
    pipeline = gst.described("filesrc name=edgevpr_source ! jpegdec", size)
    named = gst.Pipeline(pipeline.description, {"location": str(path)})
    capture = gst.GstCapture(named, threading.Event())
    try:
        capture.grab()
        image = capture.retrieve()[1]
        assert image is not None
        return cv2.cvtColor(preprocess.resize(image), cv2.COLOR_BGR2RGB)[None]
    finally:
        capture.release()


def cpu_ms(camera: tuple[int, int], preprocess: Preprocess, size: tuple[int, int] | None) -> float:
    """CPU time of all threads a frame; the picture itself is drawn once and repeated."""
    count = 60
    source = (
        "videotestsrc num-buffers=1 ! video/x-raw,format=I420,"
        f"width={camera[0]},height={camera[1]} ! imagefreeze num-buffers={count}"
    )
    # Every frame is wanted here: the appsink waits for its reader instead of letting go.
    text = gst.described(source, size).description.replace("drop=true", "drop=false")
    capture = gst.GstCapture(gst.Pipeline(text), threading.Event())
    try:
        started, done = time.process_time(), 0
        while done < count - 10 and capture.grab():
            image = capture.retrieve()[1]
            assert image is not None
            preprocess.resize(image)
            done += 1
        return (time.process_time() - started) * 1e3 / done
    finally:
        capture.release()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("demo", type=Path)
    parser.add_argument("frames", type=Path)
    parser.add_argument("--bundle", default="cpu-fp32")
    parser.add_argument("--count", type=int, default=200)
    args = parser.parse_args()
    if reason := gst.why_not():
        parser.exit(1, f"GStreamer {reason}\n")
    opened = runtime.open_localizer(
        args.demo / "bundles" / args.bundle, args.demo / "gallery", threads=1
    )
    preprocess, size = opened.preprocess, runtime.scaled_for(opened.preprocess)
    paths = sorted(args.frames.rglob("*.jpg"))
    paths = paths[:: max(1, len(paths) // args.count)][: args.count]
    cosines, same = [], 0
    with opened:
        runner, gallery = opened.runner, opened.gallery
        for path in paths:
            pair = [runner.infer(frame(path, preprocess, s)).copy() for s in (None, size)]
            a, b = (p[0] / np.linalg.norm(p[0]) for p in pair)
            cosines.append(float(a @ b))
            best = [int(gallery.search(p, 1)[1][0, 0]) for p in pair]
            same += best[0] == best[1]
    shape = cv2.imread(str(paths[0])).shape
    print(f"{platform.machine()}, GStreamer {gst.version()}; {len(paths)} frames of")
    print(f"{shape[1]}x{shape[0]}, network {preprocess.width}x{preprocess.height}, {args.bundle}\n")
    print("| cosine, median | 5th percentile | least | same best image |")
    print("|---|---|---|---|")
    low, middle = np.percentile(cosines, [5, 50])
    print(f"| {middle:.4f} | {low:.4f} | {min(cosines):.4f} | {100 * same / len(paths):.1f} % |\n")
    print("| camera | ms CPU a frame | with --pipeline-scale |")
    print("|---|---|---|")
    for camera in CAMERAS:
        plain, scaled = (cpu_ms(camera, preprocess, s) for s in (None, size))
        print(f"| {camera[0]}x{camera[1]} | {plain:.2f} | {scaled:.2f} |")


if __name__ == "__main__":
    main()
