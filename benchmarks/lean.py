"""Size, import time and memory of ``pip install .`` alone in a fresh environment.

    python benchmarks/lean.py DEMO_OUT -o OUT [--vectors 100000] [--factory STRING] [--repeat 15]

Run from the repository, in the environment that has every stage; DEMO_OUT is the folder of a
finished ``edgevpr demo``. OUT keeps what takes long (environment, gallery, bundle) for a second
time. Prints what is installed and its size, the time to import the runtime, and the resident
memory of ``edgevpr run`` in that environment with the demo's gallery and with a large one.

The large gallery is made by ``edgevpr index`` from synthetic descriptors: one of the demo's map,
plus the difference of two others times 0.7, normalized; what they answer is of no interest here.
The demo's query network is compiled for it, its projection fused, by ``edgevpr compile``.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.features import Features
from edgevpr.places.table import ImageTable

ROOT = Path(__file__).resolve().parent.parent
CHUNK = 10_000
#: sizes of the installed files of each distribution, by the environment's own interpreter
SIZES = """
import importlib.metadata, json
sizes = {}
for d in importlib.metadata.distributions():
    files = [d.locate_file(f) for f in d.files or ()]
    sizes[d.name + " " + d.version] = sum(f.stat().st_size for f in files if f.is_file())
print(json.dumps(sizes))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--factory", help="FAISS factory string; what index chooses without it")
    parser.add_argument("--repeat", type=int, default=15, help="interpreters started for each time")
    args = parser.parse_args()
    demo, out = args.demo.resolve(), args.output.resolve()
    out.mkdir(parents=True, exist_ok=True)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before; "
        f"Python {platform.python_version()}."
    )
    python = install(out / "venv")
    print_sizes(python)
    print_imports(python, args.repeat)
    gallery, bundle = large(demo, out, args.vectors, args.factory)
    print("\n| edgevpr run, 500 frames | resident MB, most | of that private | index MB | "
          "images.csv MB | search p50 ms |\n|---|---|---|---|---|---|")  # fmt: skip
    small = demo / "gallery", demo / "bundles" / "cpu-int8"
    for where, what in (small, (gallery, bundle)):
        print_memory(python, demo, where, what, out)


def install(folder: Path) -> Path:
    """The interpreter of an environment with this package and nothing that it does not ask for."""
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", "-qq", "-c", str(ROOT / "constraints.txt")]
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        subprocess.run([*pip, str(ROOT)], check=True)
        (folder / "done").touch()
    else:  # the package as it is today, its dependencies as they are
        subprocess.run([*pip, "--no-deps", "--force-reinstall", str(ROOT)], check=True)
    return python


def print_sizes(python: Path) -> None:
    done = subprocess.run([python, "-c", SIZES], check=True, capture_output=True, cwd="/")
    sizes = {k: v for k, v in json.loads(done.stdout).items() if k.split()[0] not in
             ("pip", "setuptools")}  # fmt: skip
    ordered = sorted(sizes.items(), key=lambda kv: -kv[1])
    print("\n| installed by pip install . | MB |\n|---|---|")
    for name, size in ordered[:6]:
        print(f"| {name} | {size / 1e6:.1f} |")
    print(f"| {len(ordered) - 6} others | {sum(s for _, s in ordered[6:]) / 1e6:.1f} |")
    print(f"| together | {sum(sizes.values()) / 1e6:.1f} |")


def print_imports(python: Path, repeat: int) -> None:
    print(f"\n| fresh interpreter, median of {repeat} | seconds | most |\n|---|---|---|")
    bare = seconds(python, "pass", repeat)
    for name, code in (("import edgevpr", "import edgevpr"),
                       ("import edgevpr.runtime", "import edgevpr.runtime"),
                       ("with cv2, faiss, onnxruntime",
                        "import edgevpr.runtime, cv2, faiss, onnxruntime")):  # fmt: skip
        taken = seconds(python, code, repeat)
        more = statistics.median(taken) - statistics.median(bare)
        goal = " (goal <= 0.4)" if name == "import edgevpr.runtime" else ""
        print(f"| {name} | {more:.3f}{goal} | {max(taken) - statistics.median(bare):.3f} |")
    print(f"| python -c pass, taken off above | {statistics.median(bare):.3f} | {max(bare):.3f} |")


def seconds(python: Path, code: str, repeat: int) -> list[float]:
    taken = []
    for _ in range(repeat + 1):
        started = time.perf_counter()
        subprocess.run([python, "-c", code], check=True, cwd="/")
        taken.append(time.perf_counter() - started)
    return taken[1:]


def large(demo: Path, out: Path, count: int, factory: str | None) -> tuple[Path, Path]:
    """Gallery of ``count`` vectors in the demo's space, and the query network compiled for it."""
    features, gallery, bundle = out / "features", out / "gallery", out / "bundle"
    if not features.exists():
        write_features(demo / "features" / "map", features, count)
    if not gallery.exists():
        more = ["--factory", factory] if factory else []
        verb("index", features, "-o", gallery, *more)
    if not bundle.exists():
        images = demo / "city" / "images" / "test" / "database"
        verb("compile", demo / "query-network", "--target", "cpu", "--precision", "int8",
             "--gallery", gallery, "--calibration", images, "-n", 32, "-o", bundle)  # fmt: skip
    return gallery, bundle


def write_features(source: Path, path: Path, count: int) -> None:
    opened = Features(source)
    known, record = np.asarray(opened.descriptors, np.float32), opened.record
    rng = np.random.default_rng(0)
    side = int(np.ceil(count**0.5))
    row = np.arange(count)
    table = ImageTable.build(
        [f"synthetic/{i // 1000:04d}/{i:07d}.jpg" for i in row],
        place=row,
        easting=500_000 + 30.0 * (row % side),
        northing=5_500_000 + 30.0 * (row // side),
        zone=np.full(count, 32),
        letter=["U"] * count,
    ).with_positions()

    def blocks() -> Iterator[NDArray[np.float32]]:
        for start in range(0, count, CHUNK):
            size = min(CHUNK, count - start)
            a, b, c = (known[rng.integers(len(known), size=size)] for _ in range(3))
            some = a + 0.7 * (b - c)
            yield some / np.linalg.norm(some, axis=1, keepdims=True)

    Features.write(
        path, blocks(), table, space=opened.space, model_digest=record.model_digest,
        preprocess=record.preprocess, source="synthetic",
    )  # fmt: skip


def verb(*words: object) -> None:
    command = [sys.executable, "-m", "edgevpr", *map(str, words)]
    print(f"$ edgevpr {' '.join(command[3:])}", file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def print_memory(python: Path, demo: Path, gallery: Path, bundle: Path, out: Path) -> None:
    video = next((demo / "city" / "drive").glob("*.mp4"))
    command = [
        *(python, "-m", "edgevpr", "run", video, "--bundle", bundle, "--gallery", gallery),
        *("--threads", "1", "--limit", "500", "-o", out / "answers.jsonl", "--json"),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/"
    ) as process:
        most = private = 0.0
        while process.poll() is None:
            rss, own = resident_mb(process.pid)
            most, private = max(most, rss), max(private, own)
            time.sleep(0.02)
        assert process.stdout is not None
        summary = json.loads(process.stdout.read())
    assert process.returncode == 0
    count = json.loads((gallery / "gallery.json").read_text())
    index, table = ((gallery / name).stat().st_size / 1e6 for name in ("index.faiss", "images.csv"))
    print(f"| {count['count']} images, {count['factory']}, {count['chosen']['parameters']} | "
          f"{most:.0f} | {private:.0f} | {index:.1f} | {table:.1f} | "
          f"{summary['search_ms']['p50']:.3f} |", flush=True)  # fmt: skip


def resident_mb(pid: int) -> tuple[float, float]:
    """Resident, and resident that no other process shares and no file backs, in MB."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0, 0.0
    values = {k: v for k, _, v in (line.partition(":") for line in text.splitlines())}
    return tuple(float(values.get(k, "0 kB").split()[0]) / 1e3 for k in ("VmRSS", "RssAnon"))


if __name__ == "__main__":
    main()
