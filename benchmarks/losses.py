"""All losses of a query network at one budget, and the ablations of Tables 4 and 5.

    python benchmarks/losses.py OUT_OF --start LIGHT.safetensors -o OUT [--epochs 2] [--seeds 3]

OUT_OF is the output of a finished ``edgevpr demo``, whose city, gallery network and features are
used, or of a finished ``benchmarks/real_frames.py``: its frames, and held-out walks as the second
column of recall. LIGHT is a query backbone trained with none of these losses: for the city, of
MobileViTv2-0.5 (docs/reproduce.md trains one); for the frames, the ImageNet weights of MobileNetV2
that its gallery network started from, at 128 px where that sees 192, because no other weights at
hand were trained on photographs. Every run differs in its loss alone: same start, images, order for
a seed, steps and schedule. Prints a table of R@1 and R@5 of the test queries against the gallery
network's features, mean and spread over seeds, and the seconds of a step. A run that is in
OUT/runs.jsonl already is not repeated.
"""

import argparse
import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgevpr.train.config import TrainConfig
from edgevpr.train.evaluate.evaluate import evaluate
from edgevpr.train.fit import fit
from edgevpr.train.networks.architecture import Architecture
from edgevpr.train.record import TrainingStep

BOQ = {"proj_channels": 128, "num_queries": 16, "num_layers": 2, "row_dim": 8}

#: name -> what differs from the default, Eq. 8 at tau 0.05 and gamma 15 with the gallery's BoQ.
RUNS: dict[str, dict[str, Any]] = {
    "implicit (Eq. 8)": {},
    "asymmetric (Eq. 3)": {"loss": "asymmetric"},
    "explicit (Eq. 5, K = 10)": {"loss": "explicit"},
    "queue of 2,048 (Eq. 8)": {"loss": "queue", "loss_args": {"size": 2048}},
    "queue of 2,048 (Eq. 3)": {"loss": "queue", "loss_args": {"size": 2048}, "gamma": 0.0},
    "CSD": {"loss": "csd"},
    "ROP": {"loss": "rop"},
    "MSP": {"loss": "msp"},
    "D3still": {"loss": "d3still"},
    "RAML": {"loss": "raml"},
    "regression": {"loss": "regression"},
    "implicit, MLP aggregator": {"aggregator": "mlp"},
    "implicit, gamma 1": {"gamma": 1.0},
    "implicit, gamma 60": {"gamma": 60.0},
    "implicit, tau 0.1": {"tau": 0.1},
}


@dataclass(frozen=True)
class Scene:
    """Images and features of one data set, and the gallery network's kind of aggregator."""

    images: Path
    training: Path
    map: Path
    #: column -> folder with database/ and queries/.
    tests: dict[str, Path]
    #: backbone, feature level and what else the query network is.
    network: dict[str, Any]
    aggregator: str
    aggregator_args: dict[str, Any]
    aggregator_from: Path | None
    dim: int
    settings: dict[str, Any]


def scene(out: Path) -> Scene:
    if (out / "city").is_dir():
        return Scene(
            out / "city/gsv-cities", out / "features/training", out / "features/map",
            {"R@1": out / "city/images/test"},
            {"backbone": "mobilevitv2_050", "out_index": 3, "input_norm": "instance"},
            "boq", BOQ, out / "gallery-network", 1024, {"lr": 1e-3},
        )  # fmt: skip
    data = out / "data"
    return Scene(
        data / "database", out / "features", out / "features",
        {"R@1": data / "queries", "R@1, other walks": data / "walks"},
        {"backbone": "mobilenetv2_100", "out_index": 4, "backbone_args": {"pad_type": "same"}},
        "gem", {}, None, 320, {"lr": 3e-4, "mean": (0.5,) * 3, "std": (0.5,) * 3},
    )  # fmt: skip


def config(at: Scene, start: Path, changes: dict[str, Any], epochs: int, seed: int) -> TrainConfig:
    changes = dict(changes)
    kind = changes.pop("aggregator", at.aggregator)
    own = kind == at.aggregator
    return TrainConfig(
        images=at.images,
        architecture=Architecture(
            **at.network,
            aggregator=kind,
            aggregator_args=at.aggregator_args if own else {"dim": at.dim},
        ),
        features=at.training,
        backbone_weights=start,
        aggregator_from=at.aggregator_from if own else None,
        image_size=128,
        epochs=epochs,
        min_lr=1e-5,
        warmup_steps=20,
        seed=seed,
        **at.settings,
        **changes,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_of", type=Path)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    log = args.output / "runs.jsonl"
    args.output.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    known = {(run["name"], run["seed"]) for run in done}
    for seed in range(args.seeds):
        for name, changes in RUNS.items():
            if (name, seed) in known:
                continue
            steps: list[float] = []

            def on_step(_: TrainingStep, steps: list[float] = steps) -> None:
                steps.append(time.perf_counter())

            out = args.output / "model"
            shutil.rmtree(out, ignore_errors=True)
            at = scene(args.out_of)
            settings = config(at, args.start, changes, args.epochs, seed)
            record = fit(settings, out, on_step=on_step)
            scored = [evaluate(out, test, features=at.map).recall for test in at.tests.values()]
            run = {
                "name": name, "seed": seed, "r1": scored[0].at[1], "r5": scored[0].at[5],
                "other": [each.at[1] for each in scored[1:]],
                "step_s": round(float(np.median(np.diff(steps))), 3),
                "prepared_s": record["prepared_s"], "steps": len(steps),
                "loss": record["final_loss"],
            }  # fmt: skip
            done.append(run)
            print(json.dumps(run), file=sys.stderr, flush=True)
            with log.open("a") as file:
                file.write(json.dumps(run) + "\n")
    print(table(done))


def table(runs: list[dict[str, Any]]) -> str:
    """A line a loss: mean and range over seeds; the column of other walks only where there are."""
    more = any(run.get("other") for run in runs)
    lines = [
        "| loss | R@1 | spread | R@5 |" + " R@1, other walks | spread |" * more
        + " seconds a step | before training, s |",
        "|---|--:|--:|--:|--:|--:|" + "--:|--:|" * more,
    ]  # fmt: skip
    for name in RUNS:
        own = [run for run in runs if run["name"] == name]
        if not own:
            continue
        r1, r5 = ([run[key] for run in own] for key in ("r1", "r5"))
        other = [[run["other"][0] for run in own]] if more else []
        lines.append(
            f"| {name} | {np.mean(r1):.1f} | {min(r1):.1f} to {max(r1):.1f} | {np.mean(r5):.1f} | "
            + "".join(f"{np.mean(o):.1f} | {min(o):.1f} to {max(o):.1f} | " for o in other)
            + f"{np.median([run['step_s'] for run in own]):.2f} | "
            f"{np.median([run['prepared_s'] for run in own]):.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
