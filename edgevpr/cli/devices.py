"""Verb ``edgevpr devices``: compile targets and boards."""

from typing import Annotated, Any

import typer

from edgevpr.cli import console

Name = Annotated[str | None, typer.Argument(help="Show one target in detail.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def command(name: Name = None, json: Json = False) -> None:
    """List compile targets and boards, or show one in detail.

    A ? marks a number that no document and no board confirms.
    """
    from edgevpr.device.targets import all_targets, load_target

    if name is not None:
        target = load_target(name)
        console.emit_json(target) if json else _detail(target)
        return
    targets = all_targets()
    if json:
        console.emit_json(targets)
        return
    console.table(
        "Targets",
        ["target", "engine", "sm", "INT8 TOPS", "DLA", "GB", "GB/s"],
        [
            [
                t.name,
                t.runtime,
                _shown(t, "sm"),
                _shown(t, "int8_tops"),
                _shown(t, "dla") if t.is_board else None,
                _shown(t, "memory_gb"),
                _shown(t, "bandwidth_gbs"),
            ]
            for t in targets
        ],
    )
    console.note("? not verified; a jetson family stands for its boards: edgevpr devices NAME")


def _shown(target: Any, field: str) -> str | None:
    value = getattr(target, field)
    if value is None or value == "":
        return None
    mark = " ?" if field in target.unverified else ""
    return f"{value:g}{mark}" if isinstance(value, int | float) else f"{value}{mark}"


def _detail(target: Any) -> None:
    labels = {
        "family": "family",
        "runtime": "engine",
        "sm": "compute capability (sm)",
        "cuda_cores": "CUDA cores",
        "tensor_cores": "tensor cores",
        "gpu_mhz": "GPU clock, MHz",
        "int8_tops": "INT8 TOPS, sparse",
        "fp4_tops": "FP4 TOPS, sparse",
        "dla": "deep learning accelerators",
        "memory_gb": "memory, GB",
        "bandwidth_gbs": "memory bandwidth, GB/s",
        "power_budgets": "power budgets",
    }
    rows: list[list[Any]] = [
        [label, _shown(target, field)]
        for field, label in labels.items()
        if _shown(target, field) is not None and (field != "dla" or target.is_jetson)
    ]
    for label, values in (
        ("also sm", [str(sm) for sm in target.also_sm]),
        ("part numbers", target.part_numbers),
        ("power modes (nvpmodel)", [f"{k} {v}" for k, v in target.power_modes.items()]),
        ("TensorRT it ships with", [_tensorrt(target, k, v) for k, v in target.tensorrt.items()]),
        (
            "TensorRT installable",
            [f"{v} (JetPack {k})" for k, v in target.tensorrt_installable.items()],
        ),
    ):
        if values:
            rows.append([label, ", ".join(values)])
    if target.super_mode is not None:
        units = {"gpu_mhz": "MHz", "int8_tops": "TOPS", "bandwidth_gbs": "GB/s"}
        known = ((getattr(target.super_mode, field), unit) for field, unit in units.items())
        rows.append(["Super mode", ", ".join(f"{v:g} {unit}" for v, unit in known if v)])
    rows += [["note", note] for note in target.notes]
    rows += [["source", source] for source in target.sources]
    console.table(f"{target.name}: {target.title}", ["", ""], rows)
    if target.unverified:
        console.note("? not verified in a document or on a board")


def _tensorrt(target: Any, jetpack: str, version: str) -> str:
    mark = " ?" if f"tensorrt {jetpack}" in target.unverified else ""
    return f"{version} (JetPack {jetpack}){mark}"
