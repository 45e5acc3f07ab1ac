"""Time and memory of building and searching as the map grows, to a million images in 2 GB.

    python benchmarks/scale.py -o FOLDER [--images 10000 100000 1000000] [--dim 512] [--small]
                               [--limit-mb 2048]

For each size: descriptors as ``benchmarks/descriptors.py`` makes them (float16, in FOLDER, kept),
``edgevpr index`` in a process of its own on all cores it is given, then a search in another one,
as a robot opens it. Peak memory is the process's own (VmHWM), pages of mapped files included;
"private" is memory that the system could not take back (RssAnon): its peak while building, sampled
every 20 ms, and after 200 searches. With ``--limit-mb`` each process runs in a memory control group
of that size, which kills what does not fit: the system's cache of the files it reads counts too
(Linux, root).
"""

import argparse
import atexit
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import descriptors
import numpy as np
from memory import Watch, memory


def confine(megabytes: int) -> None:
    """Move this process to a control group of so much memory, version 2 or 1, without swap."""
    root = Path("/sys/fs/cgroup")
    second = (root / "cgroup.controllers").is_file()
    group = (root if second else root / "memory") / f"edgevpr-scale-{os.getpid()}"
    group.mkdir()
    atexit.register(leave, group)
    limit = "memory.max" if second else "memory.limit_in_bytes"
    (group / limit).write_text(str(megabytes << 20))
    (group / "cgroup.procs").write_text(str(os.getpid()))


def leave(group: Path) -> None:
    (group.parent / "cgroup.procs").write_text(str(os.getpid()))
    group.rmdir()


def build(folder: Path, dim: int) -> dict[str, float]:
    from edgevpr.compile.index.build_index import build_gallery
    from edgevpr.compile.index.index_options import IndexOptions

    watch = Watch()
    started = time.perf_counter()
    record = build_gallery(
        folder / "map",
        folder / "gallery",
        queries=folder / "queries",
        options=IndexOptions(dim=dim),
        say=lambda line: print(line, file=sys.stderr),
    )
    return {
        "seconds": time.perf_counter() - started,
        "peak": memory("VmHWM"),
        "private_peak": watch.most(),
        "bytes": record.bytes_per_image,
        "agreement": record.chosen.exact_agreement,
        "lost": (record.exact_r1 or 0) - (record.chosen.r1 or 0),
    }


def search(folder: Path) -> dict[str, float]:
    from edgevpr.runtime import Gallery

    queries = np.load(folder / "queries" / "descriptors.npy").astype(np.float32)
    before = memory("RssAnon"), memory("RssFile")
    started = time.perf_counter()
    gallery = Gallery(folder / "gallery")
    opened = time.perf_counter() - started
    took = []
    for i in range(210):
        query = queries[i % len(queries)][None]
        started = time.perf_counter()
        gallery.search(query)
        took.append(1e3 * (time.perf_counter() - started))
    return {
        "opened": opened,
        "p50": float(np.median(took[10:])),
        "p95": float(np.percentile(took[10:], 95)),
        "private": memory("RssAnon") - before[0],
        "mapped": memory("RssFile") - before[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--limit-mb", type=int, help="memory of each process")
    parser.add_argument("--stage", choices=["build", "search"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.small:
        args.images, args.dim = [4096, 16384], 64
    if args.stage:
        if args.limit_mb:
            confine(args.limit_mb)
        found = build(args.output, args.dim) if args.stage == "build" else search(args.output)
        print(json.dumps(found))
        return
    print("| images | build s | build peak MB | of it private | bytes an image | "
          "agreement % | R@1 lost | open s | ms p50 | ms p95 | private MB | "
          "mapped MB |")  # fmt: skip
    print("|" + "---|" * 12)
    for images in args.images:
        folder = args.output / f"{images}x{args.dim}"
        if not (folder / "queries").is_dir():
            descriptors.write(folder, images, args.dim, 500)
        found = {}
        for stage in ("build", "search"):
            command = [sys.executable, __file__, "-o", str(folder), "--dim", str(args.dim)]
            command += ["--limit-mb", str(args.limit_mb)] if args.limit_mb else []
            done = subprocess.run(
                [*command, "--stage", stage], check=True, stdout=subprocess.PIPE, text=True
            )
            found |= json.loads(done.stdout.splitlines()[-1])
        print(f"| {images:,} | {found['seconds']:.0f} | {found['peak']:,.0f} | "
              f"{found['private_peak']:,.0f} | {found['bytes']:.0f} | "
              f"{found['agreement']:.1f} | {found['lost']:.1f} | "
              f"{found['opened']:.2f} | {found['p50']:.3f} | {found['p95']:.3f} | "
              f"{found['private']:.0f} | {found['mapped']:.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
