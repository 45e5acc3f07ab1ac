"""Demo on real frames: phone walks through a building (ie-tower, 384x216, 1 per second).

    python benchmarks/real_frames.py IE_TOWER BACKBONE_WEIGHTS -o OUT

IE_TOWER holds ``frames.csv`` (image, video, second, floor, area) and ``images/``. A place is an
area of a floor; there are no coordinates. Floors look alike and neighbouring seconds overlap, so
frames are split by time and by walk, never at random:

* ``walks``: where several walks show an area, the last one is held out whole: its frames are the
  test queries "another walk", and one of them is the walk that ``edgevpr run`` answers.
* the other walks are cut into stretches of 8 s: seconds 0-3 are gallery (and training) frames,
  seconds 5 and 6 are queries, 4 and 7 are left out; a query is 2 s or more from any gallery frame.
  Queries of even stretches are for tuning (validation, index), of odd stretches for the test.

The gallery network is MobileNetV2 with ImageNet weights and GeM at 192 px, finetuned on the gallery
frames: a stand-in, far from DINOv2. The query network is the same backbone from the same weights at
128 px, which is 2.25 times lighter: no other weights at hand were trained on photographs.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from edgevpr.places.table import ImageTable

GALLERY_PX, QUERY_PX = 192, 128


def split(frames: list[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    """Frames of each part: gallery, tuning, queries (same walk), walks (another walk)."""
    by_area = defaultdict(set)
    for frame in frames:
        by_area[frame["floor"], frame["area"]].add(int(frame["video"]))
    held_out = {max(videos) for videos in by_area.values() if len(videos) > 1}
    parts: dict[str, list[dict[str, str]]] = defaultdict(list)
    for frame in frames:
        stretch, second = divmod(int(frame["second"]) - 1, 8)
        if int(frame["video"]) in held_out:
            parts["walks"].append(frame)
        elif second < 4:
            parts["gallery"].append(frame)
        elif second in (5, 6):
            parts["queries" if stretch % 2 else "tuning"].append(frame)
    gallery = defaultdict(list)
    for frame in parts["gallery"]:
        gallery[frame["video"]].append(int(frame["second"]))
    for frame in parts["queries"] + parts["tuning"]:
        gap = min(abs(int(frame["second"]) - s) for s in gallery[frame["video"]])
        assert gap >= 2, f"{frame['image']} is {gap} s from a gallery frame"
    return parts


def write(folder: Path, images: Path, frames: list[dict[str, str]], ids: dict[str, int]) -> None:
    """A folder with links to the frames and the images.csv that names their places."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame in frames:
        link = folder / frame["image"]
        if not link.exists():
            link.symlink_to((images / frame["image"]).resolve())
    ImageTable.build(
        [frame["image"] for frame in frames],
        place=[ids[f"{frame['floor']}/{frame['area']}"] for frame in frames],
    ).save(folder / "images.csv")


def verb(*arguments: str | Path) -> str:
    words = [str(a) for a in arguments]
    print(f"$ edgevpr {' '.join(words)}", file=sys.stderr, flush=True)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "edgevpr", *words], stdout=subprocess.PIPE, text=True, check=True
    )
    print(f"  {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return done.stdout


def prepare(tower: Path, out: Path) -> dict[str, int]:
    """Write the data folders; returns how many frames each part has."""
    with (tower / "frames.csv").open() as stream:
        frames = list(csv.DictReader(stream))
    ids = {name: i for i, name in enumerate(sorted({f"{f['floor']}/{f['area']}" for f in frames}))}
    parts = split(frames)
    images = tower / "images"
    write(out / "database", images, parts["gallery"], ids)
    for name in ("tuning", "queries", "walks"):
        write(out / name / "queries", images, parts[name], ids)
        write(out / name / "database", images, parts["gallery"], ids)
    walk = max({f["video"] for f in parts["walks"]}, key=lambda v: sum(
        f["video"] == v for f in parts["walks"]))  # fmt: skip
    write(out / "walk", images, [f for f in parts["walks"] if f["video"] == walk], ids)
    return {name: len(frames) for name, frames in parts.items()} | {"places": len(ids)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tower", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--gallery-epochs", type=int, default=6)
    parser.add_argument("--query-epochs", type=int, default=10)
    args = parser.parse_args()
    out: Path = args.output
    counts = prepare(args.tower, out / "data")
    print(json.dumps(counts), file=sys.stderr)
    data, database = out / "data", out / "data" / "database"
    common = [
        "--backbone", "mobilenetv2_100", "--backbone-args", "pad_type=same", "--out-index", "4",
        "--backbone-weights", args.weights, "--aggregator", "gem",
        "--mean", "0.5", "0.5", "0.5", "--std", "0.5", "0.5", "0.5",
    ]  # fmt: skip
    if not (out / "gallery-network").exists():
        verb(
            "train", database, "-o", out / "gallery-network", "--image-size", GALLERY_PX,
            "--epochs", args.gallery_epochs, "--lr", "1e-4", "--min-lr", "1e-6",
            "--loss", "supcon", "--validation", data / "tuning", *common,
        )  # fmt: skip
    if not (out / "features").exists():
        verb("embed", out / "gallery-network", database, "-o", out / "features")
    if not (out / "query-network").exists():
        verb(
            "train", database, "-o", out / "query-network", "--features", out / "features",
            "--validation", data / "tuning", "--validation-features", out / "features",
            "--image-size", QUERY_PX, "--warmup-steps", "20", "--epochs", args.query_epochs,
            "--lr", "3e-4", "--min-lr", "1e-5", *common,
        )  # fmt: skip
    verb("embed", out / "query-network", data / "tuning" / "queries", "-o", out / "tuning")
    verb("index", out / "features", "--queries", out / "tuning", "-o", out / "gallery")
    for network, name, precision, options in (
        ("gallery", "gallery-fp32", "fp32", ()),
        ("query", "query-fp32-full", "fp32", ()),
        ("query", "query-fp32", "fp32", ("--gallery", out / "gallery")),
        ("query", "query-int8", "int8", ("--gallery", out / "gallery")),
    ):
        verb(
            "compile", out / f"{network}-network", "--target", "cpu", "--precision", precision,
            *options, "--calibration", database, "-o", out / "bundles" / name,
        )  # fmt: skip
    answers = out / "walk.jsonl"
    verb(
        "run", data / "walk", "--bundle", out / "bundles" / "query-int8",
        "--gallery", out / "gallery", "-o", answers,
    )  # fmt: skip
    table = []
    for part in ("queries", "walks"):
        for bundle, name, exact in (
            ("gallery-fp32", "gallery-ivfpq", "gallery-exact"),
            ("query-fp32-full", "query-ivfpq-unfused", "query-exact"),
            ("query-fp32", "query-ivfpq", ""),
            ("query-int8", "query-int8-ivfpq", ""),
        ):
            options = ["--features", out / "features", "--exact-name", exact] if exact else []
            told = json.loads(verb(
                "profile", data / part / "queries", "--bundle", out / "bundles" / bundle,
                "--gallery", out / "gallery", "--name", name, *options, "--json",
                "-o", out / "profiles" / f"{part}-{bundle}",
            ))  # fmt: skip
            table += [{"part": part} | row for row in told["rows"]]
    truth = {row["path"]: row["place"] for row in csv.DictReader((data / "walk/images.csv").open())}
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    right = sum(str(a["place"]) == truth[Path(a["source"]).name] for a in lines)
    result = {"frames": counts, "walk": {"frames": len(lines), "right": right}, "rows": table}
    (out / "result.json").write_text(json.dumps(result, indent=2))
    columns = ["part", "configuration", "r1", "r5", "engine_ms_p50", "search_ms_p50",
               "end_to_end_ms_p50", "end_to_end_ms_p95", "bytes_per_image"]  # fmt: skip
    print("| " + " | ".join(columns) + " |")
    for row in table:
        cells = (row[c] for c in columns)
        print(
            "| " + " | ".join(f"{c:.2f}" if isinstance(c, float) else str(c) for c in cells) + " |"
        )
    print(f"held-out walk: {right} of {len(lines)} frames answered with the right area")


if __name__ == "__main__":
    main()
