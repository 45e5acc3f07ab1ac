"""Inverted lists filled in shards and merged on disk, against the same lists filled in memory.

    python benchmarks/shards.py -o FOLDER [--images 2000000] [--dim 512] [--factory IVF1024,SQ8]
                                [--shard-mb 256]

Random unit vectors (float16, in FOLDER): the cost of lists does not depend on their vectors. Each
way in a process of its own; private memory is the peak of what the system could not take back
(RssAnon, sampled every 20 ms) over that before.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from memory import Watch


def write(path: Path, images: int, dim: int) -> None:
    out = np.lib.format.open_memmap(path, "w+", np.float16, (images, dim))
    draw = np.random.default_rng(0)
    for start in range(0, images, 65536):
        block = draw.standard_normal((len(out[start : start + 65536]), dim), np.float32)
        out[start : start + 65536] = block / np.linalg.norm(block, axis=1, keepdims=True)
    out.flush()


def build(vectors: Path, factory: str, shard_mb: int, path: Path) -> None:
    from edgevpr.artifacts.manifest import sha256_file
    from edgevpr.compile.index import faiss_build, inverted_lists

    inverted_lists.SHARD_BYTES = shard_mb << 20
    watch = Watch()
    started = time.perf_counter()
    faiss_build.build_file(np.load(vectors, mmap_mode="r"), factory, path)
    seconds = time.perf_counter() - started
    private = watch.most() - watch.before
    digest = sha256_file(path)[:12]
    print(f"{seconds:.0f} | {private:,.0f} | {path.stat().st_size / 1e6:,.0f} | {digest} |")
    path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--images", type=int, default=2_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--factory", default="IVF1024,SQ8")
    parser.add_argument("--shard-mb", type=int, default=256)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.small:
        args.images, args.dim, args.factory, args.shard_mb = 200_000, 64, "IVF64,SQ8", 5
    vectors = args.output / f"{args.images}x{args.dim}.npy"
    if args.one:
        build(vectors, args.factory, args.shard_mb, args.output / "shards.faiss")
        return
    args.output.mkdir(parents=True, exist_ok=True)
    if not vectors.is_file():
        write(vectors, args.images, args.dim)
    print("| lists of | filled | s | private MB | file MB | sha256 |")
    print("|---|---|---|---|---|---|")
    same = ["--images", str(args.images), "--dim", str(args.dim), "--factory", args.factory]
    for how, shard_mb in (
        ("in memory", 1 << 20),
        (f"in shards of {args.shard_mb} MB", args.shard_mb),
    ):
        print(f"| {args.images:,} x {args.dim}, {args.factory} | {how} | ", end="", flush=True)
        command = [sys.executable, __file__, "-o", str(args.output), *same]
        subprocess.run([*command, "--shard-mb", str(shard_mb), "--one"], check=True)


if __name__ == "__main__":
    main()
