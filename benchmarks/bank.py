"""Cost of the memory bank, of the neighbours that k-NN losses rank, and of the chunked loss.

    python benchmarks/bank.py -o FOLDER [--images 50000] [--dim 12288]

Writes random float16 descriptors of FOLDER's disk once, then prints, each as the time of its own
process, the file not in the page cache (Linux): merely reading the file; building the bank; and the
exact neighbours at several N, with how both grow. Peak memory is that of the process less what
importing its packages took.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from memory import Watch, memory


def write(path: Path, images: int, dim: int) -> None:
    """Unit vectors around their places, 8.5 images a place as in GSV-Cities, in random order."""
    if path.is_file():
        return
    rng = np.random.default_rng(0)
    places = rng.integers(0, max(2, round(images / 8.5)), images)
    out = np.lib.format.open_memmap(path, "w+", np.float16, (images, dim))
    for start in range(0, images, 1000):
        rows = places[start : start + 1000]
        base = np.stack(
            [np.random.default_rng(int(p)).standard_normal(dim, np.float32) for p in rows]
        )
        base += rng.standard_normal(base.shape, np.float32)
        out[start : start + 1000] = base / np.linalg.norm(base, axis=1, keepdims=True)
    out.flush()
    np.save(path.with_suffix(".places.npy"), places)


def cold(path: Path) -> bool:
    """Drop ``path`` alone from the page cache; False where the system cannot."""
    if not hasattr(os, "posix_fadvise"):
        return False
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def stage(name: str, path: Path, images: int, top_k: int, watch: Watch) -> dict[str, float]:
    """One measurement, in a process of its own."""
    result: dict[str, float] = {}
    if name == "read":
        started = time.perf_counter()
        with path.open("rb", buffering=0) as file:
            block = bytearray(1 << 24)
            while file.readinto(block):
                pass
        return {"s": time.perf_counter() - started}
    if name == "bank":
        from edgevpr.train.losses.bank import build_bank

        features = np.load(path, mmap_mode="r")[:images]
        places = np.load(path.with_suffix(".places.npy"))[:images]
        before = peak_mb()
        started = time.perf_counter()
        bank = build_bank(features, places)
        result["s"] = time.perf_counter() - started
        size = (bank.centroids.nbytes + bank.variances.nbytes) / 2**20
        return result | {
            "bank_mb": size, "over_bank_mb": watch.most() - watch.before - size,
            "rss_peak_mb": peak_mb() - before,
        }  # fmt: skip
    if name == "neighbours":
        from edgevpr.train.losses.neighbours import precompute_neighbours

        features = np.load(path, mmap_mode="r")[:images]
        out = path.with_suffix(".neighbours.npy")
        started = time.perf_counter()
        precompute_neighbours(features, top_k, out)
        result["s"] = time.perf_counter() - started
        result["mb"] = out.stat().st_size / 2**20
        out.unlink()
        return result
    import torch

    from edgevpr.train.losses.asymmetric import implicit
    from edgevpr.train.losses.distillation import csd

    dim, places, batch = np.load(path, mmap_mode="r").shape[1], images, 64
    g = torch.manual_seed(0)
    query = torch.nn.functional.normalize(torch.randn(batch, dim, generator=g), dim=1)
    query.requires_grad_(True)
    gallery = torch.nn.functional.normalize(torch.randn(batch, dim, generator=g), dim=1)
    if name == "loss":
        centroids = torch.empty(places, dim, dtype=torch.float16).normal_(0, dim**-0.5)
        own = torch.randint(places, (batch,), generator=g)
        variance = torch.full((batch, dim), 0.1 / dim)
        before = memory("RssAnon")

        def step() -> None:
            implicit(query, gallery, centroids, own, variance).backward()
    else:
        features = np.load(path, mmap_mode="r")
        before = memory("RssAnon")
        rng = np.random.default_rng(0)

        def step() -> None:
            rows = np.sort(rng.integers(0, len(features), (batch, top_k)), 1)
            near = torch.from_numpy(features[rows])
            csd(query, gallery, top_k=top_k, neighbours=near).backward()

    step()
    times = []
    for _ in range(5):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return {"s": float(np.median(times)), "over_mb": watch.most() - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--images", type=int, default=50000)
    parser.add_argument("--dim", type=int, default=12288)
    parser.add_argument("--places", type=int, default=62000, help="bank of the loss")
    parser.add_argument("--top-k", type=int, default=256)
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    args = parser.parse_args()
    path: Path = args.output / f"features-{args.images}x{args.dim}.npy"
    if args.stage:
        name, _, count = args.stage.partition(":")
        if name == "bank":
            import torch  # noqa: F401  its memory is not the bank's

            import edgevpr.train.losses.bank  # noqa: F401
        print(json.dumps(stage(name, path, int(count), args.top_k, Watch(0.005))))
        return
    args.output.mkdir(parents=True, exist_ok=True)
    write(path, args.images, args.dim)
    sizes = [args.images // 8, args.images // 4, args.images // 2, args.images]
    jobs = [f"bank:{n}" for n in sizes[:3]]
    jobs += 3 * [f"read:{args.images}", f"bank:{args.images}"]  # in turn: the speed of disks drifts
    jobs += [f"neighbours:{n}" for n in sizes[:3]]
    jobs += [f"loss:{args.places}", f"csd:{args.places}"]
    for job in jobs:
        dropped = job.startswith(("read", "bank")) and cold(path)
        command = [sys.executable, __file__, "-o", str(args.output), "--stage", job]
        command += ["--images", str(args.images), "--dim", str(args.dim)]
        command += ["--top-k", str(args.top_k)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = {k: round(v, 3) for k, v in json.loads(done.stdout).items()}
        print(json.dumps({"job": job, "cold": dropped, **found}), flush=True)


if __name__ == "__main__":
    main()
