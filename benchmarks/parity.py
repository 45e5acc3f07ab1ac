"""Parity of FP16 and INT8 graphs with FP32, at full size, on real frames and a synthetic city.

    python benchmarks/parity.py IE_TOWER -o OUT [--only efficientvit_b2-boq] [--city CITY]

EfficientViT-B2 and MobileViTv2-1.0, each with BoQ and SALAD, at 320 px. Each network is trained
through ``edgevpr train`` for as long as a CPU affords (--places at 128 px, then a little at 320 px;
no pretrained weights of these backbones are at hand), on gallery frames of the building
(IE_TOWER, split as in real_frames.py) and streets of the city together, so that activations are
those of a trained network; recall is what so little training gives, and only its change counts.

Graphs are those of ``--target rtx-ada``, run node by node as written, so that every cast and every
rounding is done ("emulated"); CPU INT8 is ONNX Runtime's own. The gallery is described in FP32, the
queries in each precision: exact search, positives by area (building) or 25 m (city).

Descriptors of a little-trained network are nearly all alike, and then any cosine is close to 1: so
"alike" is the mean cosine over all pairs of frames, and "centred" the cosine once
the mean descriptor is taken away from both.

A network that is done is a line of OUT/parity.jsonl and is not run again; what a killed run
described or compiled is found in OUT/cache. EfficientViT-B2 + BoQ is also compiled from an empty
cache and again, step by step.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from real_frames import prepare, verb

from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.records import BundleRecord
from edgevpr.compile.cache import Cache
from edgevpr.compile.engine.parity import compare
from edgevpr.compile.stages import Stages
from edgevpr.data import read_images
from edgevpr.device.cpu import cpu_name
from edgevpr.files import cache_folder, write_atomic
from edgevpr.places.positives import positives
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess, read_image
from edgevpr.retrieval.exact import exact_search
from edgevpr.retrieval.recall import recall_at

SIDE, SMALL = 320, 128
#: The gallery networks' widths: BoQ 12288-d, SALAD 8448-d.
AGGREGATORS = {
    "boq": ["proj_channels=384", "num_queries=64", "num_layers=2", "row_dim=32"],
    "salad": ["num_clusters=64", "cluster_dim=128", "token_dim=256"],
}
BACKBONES = {"efficientvit_b2": 224, "mobilevitv2_100": 256}
NETWORKS = [f"{backbone}-{aggregator}" for backbone in BACKBONES for aggregator in AGGREGATORS]
TIMED = NETWORKS[0]


def training_folder(out: Path, places: int, tower: Path, city: Path, seed: int = 0) -> Path:
    """Links to images of ``places`` places, half of the building and half of the city."""
    folder = out / "data" / f"training-{places}"
    if (folder / "images.csv").is_file():
        return folder
    rng = np.random.default_rng(seed)
    paths: list[str] = []
    ids: list[int] = []
    folder.mkdir(parents=True, exist_ok=True)
    for root, offset in ((tower, 0), (city, 1_000_000)):
        table = read_images(root)
        known, counts = np.unique(table.place, return_counts=True)
        enough = known[counts >= 4]
        for place in rng.permutation(enough)[: places // 2]:
            rows = rng.permutation(np.flatnonzero(table.place == place))[:8]
            for row in rows:
                name = f"{offset}-{Path(table.paths[row]).name}"
                link = folder / name
                if not link.exists():
                    link.symlink_to((root / table.paths[row]).resolve())
                paths.append(name)
                ids.append(offset + int(place))
    ImageTable.build(paths, place=ids).save(folder / "images.csv")
    return folder


def train(name: str, out: Path, args: argparse.Namespace, tower: Path, city: Path) -> Path:
    """The model artifact of a network, trained unless it is there."""
    done = args.models / name if args.models else out / "models" / name
    if (done / "manifest.json").is_file():
        return done
    backbone, aggregator = name.rsplit("-", 1)
    widths = [word for pair in AGGREGATORS[aggregator] for word in ("--aggregator-args", pair)]
    common = ("--loss", "supcon", "--lr", "3e-4", "--min-lr", "1e-5", "--batch-size", 32)
    # The backbone is trained once, with BoQ: SALAD needs more patches than 128 px gives.
    small = out / "models" / f"{backbone}-{SMALL}"
    if not (small / "manifest.json").is_file():
        boq = [word for pair in AGGREGATORS["boq"] for word in ("--aggregator-args", pair)]
        verb("train", training_folder(out, args.places, tower, city), "-o", small,
             "--backbone", backbone, *boq, "--image-size", SMALL, "--epochs", args.epochs,
             "--warmup-steps", 20, *common)  # fmt: skip
    start = ("--weights", small / "weights.safetensors") if aggregator == "boq" else (
        "--backbone-weights", small / "weights.safetensors")  # fmt: skip
    verb("train", training_folder(out, args.fine_places, tower, city), "-o", done,
         "--backbone", backbone, "--aggregator", aggregator, *widths, "--image-size", SIDE,
         "--epochs", 1, *start, *common)  # fmt: skip
    return done


def some(table: ImageTable, count: int) -> ImageTable:
    """At most ``count`` rows, evenly over the table."""
    rows = np.linspace(0, len(table) - 1, min(count, len(table)))
    return table.take(np.unique(rows.astype(int)))


def read(folder: Path, table: ImageTable, preprocess: Preprocess) -> Any:
    """(n, H, W, 3) uint8."""
    return np.stack([preprocess.resize(read_image(folder / path)) for path in table.paths])


def unit(descriptors: Any) -> Any:
    """Rows at unit length."""
    return descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)


def torch_error(model: Path, graph: Path, images: Any) -> float:
    """Largest difference between torch and ONNX Runtime on some real frames."""
    import torch

    from edgevpr.compile.graph.reference import describe
    from edgevpr.train.networks.export import Deployed
    from edgevpr.train.networks.model import load_model

    network, about, _ = load_model(model)
    deployed = Deployed(network, about.preprocess).eval()
    with torch.no_grad():
        expected = np.vstack([deployed(torch.from_numpy(image[None])).numpy() for image in images])
    return float(np.abs(describe(onnx.load(str(graph)), images) - expected).max())


def measure(name: str, out: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One network's line."""
    began = time.perf_counter()
    tower, city = out / "data", args.city or out / "city"
    model = train(name, out, args, tower / "database", city / "gsv-cities")
    trained = time.perf_counter() - began
    bundles = {}
    for target, precision in (("cpu", "fp32"), ("rtx-ada", "fp16"), ("rtx-ada", "int8"),
                              ("cpu", "int8")):  # fmt: skip
        bundle = out / "bundles" / f"{name}-{target}-{precision}"
        if not (bundle / "manifest.json").is_file():
            verb("compile", model, "-t", target, "--precision", precision, "-o", bundle,
                 "--calibration", tower / "database", "-n", args.calibration)  # fmt: skip
        bundles[f"{target}-{precision}"] = open_artifact(bundle, "bundle")
    records = {k: b.read("bundle.json", BundleRecord) for k, b in bundles.items()}
    preprocess = records["cpu-fp32"].preprocess
    stages = Stages(Cache(cache_folder() / "compile"), out / "scratch")
    line: dict[str, Any] = {"network": name, "training": f"{args.places} places x {args.epochs}"}
    cosines: dict[str, list[float]] = {}
    sets = {
        "real": (tower / "queries" / "database", tower / "queries" / "queries"),
        "city": (city / "images/test/database", city / "images/test/queries"),
    }
    for kind, (database, queries) in sets.items():
        known, asked = some(read_images(database), args.database), read_images(queries)
        answered = [len(good) > 0 for good in positives(asked, known, 25.0)]
        asked = some(asked.take(np.array(answered)), args.queries)
        gallery, images = (
            read(database, known, preprocess),
            read(queries, asked, preprocess),
        )
        good = positives(asked, known, 25.0)
        exported = bundles["cpu-fp32"].file("model.onnx")
        fp32 = onnx.load(str(exported))
        if kind == "real":
            line["torch_error"] = torch_error(model, exported, images[:8])
        described = stages.describe(fp32, gallery)
        reference = stages.describe(fp32, images)
        for key, bundle in bundles.items():
            graph = onnx.load(str(bundle.file("model.onnx")))
            as_written = not key.startswith("cpu")
            found = reference if key == "cpu-fp32" else stages.describe(
                graph, images, as_written=as_written)  # fmt: skip
            _, rows = exact_search(found, described, 20)
            recall = recall_at(rows, good, database=len(known), ks=(1,))
            line[f"{kind}_r1_{key}"] = recall.at[1]
            if key != "cpu-fp32":
                parity = compare(found, reference)
                apart = compare(*(unit(part - reference.mean(0)) for part in (found, reference)))
                cosines[f"{kind}_{key}"] = [parity.min_cosine, parity.mean_cosine, apart.min_cosine]
        line[f"{kind}_alike"] = float(np.square(unit(reference).mean(0)).sum())
        line[f"{kind}_queries"] = len(asked)
        line[f"{kind}_database"] = len(known)
    latency = records["cpu-int8"].evidence["latency"]
    line |= {
        "frames": line["real_queries"],
        "cosines": cosines,
        "cpu_fp32_ms": latency["fp32"]["p50_ms"],
        "cpu_int8_ms": latency["int8"]["p50_ms"],
        "int8_layers": len(records["rtx-ada-int8"].evidence["int8_nodes"]),
        "train_s": round(trained),
        "seconds": round(time.perf_counter() - began),
    }
    return line


def time_compile(name: str, out: Path, args: argparse.Namespace) -> list[list[str]]:
    """Compiling for rtx-ada in FP16 and INT8 from an empty cache, and again."""
    model = (args.models or out / "models") / name
    cache, rows = out / "timing-cache", []
    shutil.rmtree(cache, ignore_errors=True)
    for turn in ("first", "again"):
        for precision in ("fp16", "int8"):
            bundle = out / "bundles" / f"timed-{precision}"
            environment = os.environ | {"EDGEVPR_CACHE": str(cache)}
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "edgevpr", "compile", str(model), "-t", "rtx-ada",
                 "--precision", precision, "-n", str(args.calibration), "-o", str(bundle),
                 "--calibration", str(out / "data" / "database")],
                check=True, env=environment, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            took = time.perf_counter() - began
            record = open_artifact(bundle, "bundle").read("bundle.json", BundleRecord)
            steps = ", ".join(f"{k} {v:.1f}" for k, v in record.evidence["seconds"].items())
            rows.append([turn, precision, f"{took:.1f}", steps])
    return rows


def report(lines: list[dict[str, Any]]) -> str:
    """The markdown tables."""
    columns = ["network", "torch vs ONNX", "alike", "FP16 cosine min / mean / centred min",
               "INT8 cosine min / mean / centred min",
               "R@1 real FP32 / FP16 / INT8", "R@1 city FP32 / FP16 / INT8", "CPU INT8 cosine",
               "CPU R@1 INT8 real, city", "CPU ms FP32 / INT8"]  # fmt: skip
    text = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for line in lines:

        def cosine(key: str, line: dict[str, Any] = line) -> str:
            return " / ".join(f"{each:.5f}" for each in line["cosines"][key])

        def recalls(kind: str, line: dict[str, Any] = line) -> str:
            keys = ("cpu-fp32", "rtx-ada-fp16", "rtx-ada-int8")
            return " / ".join(f"{line[f'{kind}_r1_{key}']:.1f}" for key in keys)

        text.append("| " + " | ".join([
            line["network"], f"{line['torch_error']:.1e}", f"{line['real_alike']:.3f}",
            cosine("real_rtx-ada-fp16"),
            cosine("real_rtx-ada-int8"), recalls("real"), recalls("city"),
            cosine("real_cpu-int8"),
            f"{line['real_r1_cpu-int8']:.1f}, {line['city_r1_cpu-int8']:.1f}",
            f"{line['cpu_fp32_ms']:.1f} / {line['cpu_int8_ms']:.1f} "
            f"({line['cpu_fp32_ms'] / line['cpu_int8_ms']:.2f}x)",
        ]) + " |")  # fmt: skip
    first = lines[0]
    text.append(
        f"\nReal: {first['real_queries']} frames against {first['real_database']}; city: "
        f"{first['city_queries']} against {first['city_database']}; {cpu_name()}; training "
        f"{first['training']} at {SMALL} px, then one pass at {SIDE} px."
    )
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tower", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--city", type=Path, help="a folder of edgevpr city; made when left out")
    parser.add_argument("--models", type=Path, help="folder of trained models, NETWORK each")
    parser.add_argument("--only", choices=NETWORKS, help="measure this network alone")
    parser.add_argument("--places", type=int, default=120, help="trained on at 128 px")
    parser.add_argument("--fine-places", type=int, default=16, help="trained on at 320 px")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--database", type=int, default=300)
    parser.add_argument("--calibration", type=int, default=200)
    args = parser.parse_args()
    out: Path = args.output.resolve()
    args.city = args.city and args.city.resolve()
    args.models = args.models and args.models.resolve()
    os.environ["EDGEVPR_CACHE"] = str(out / "cache")
    if not (out / "data" / "database" / "images.csv").is_file():
        prepare(args.tower, out / "data")
    if args.city is None and not (out / "city" / "city.json").is_file():
        verb("city", "-o", out / "city")
    ledger = out / "parity.jsonl"
    kept = ledger.read_text().splitlines() if ledger.is_file() else []
    lines = [json.loads(text) for text in kept]
    for name in [args.only] if args.only else NETWORKS:
        if any(line["network"] == name for line in lines):
            continue
        lines.append(measure(name, out, args))
        write_atomic(ledger, ("\n".join(json.dumps(line) for line in lines) + "\n").encode())
    print(report(lines))
    if args.only in (None, TIMED):
        print("\n| compile | precision | seconds | steps |\n| --- | --- | --- | --- |")
        for row in time_compile(TIMED, out, args):
            print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
