"""Verb ``edgevpr compile``: a bundle from a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgevpr.cli import console

if TYPE_CHECKING:
    from edgevpr.artifacts.records import BundleRecord
    from edgevpr.compile.auto.tuning_images import Map


def command(
    model: Annotated[Path, typer.Argument(help="Model artifact (edgevpr train).")],
    target: Annotated[
        str, typer.Option("--target", "-t", help="cpu, rtx-ada, jetson-orin, ...: edgevpr devices.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle artifact to write.")],
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, fp16, int8, or auto: the fastest that keeps the recall. The default is "
            "fp32 for cpu, fp16 for GPUs."
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(
            help="Gallery artifact: its projection is fused into the graph; auto measures recall "
            "in it."
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Folder of gallery or training images: INT8 ranges, parity and golden vectors. "
            "By default the gallery's own images, if they are where its records say."
        ),
    ] = None,
    count: Annotated[int, typer.Option(help="How many of them to calibrate with.", min=8)] = 128,
    calibrator: Annotated[
        str | None,
        typer.Option(
            help="How INT8 ranges are set: entropy, max or percentile; the default is percentile "
            "for cpu, entropy for GPUs."
        ),
    ] = None,
    tuning: Annotated[
        Path | None,
        typer.Option(
            help="auto: folder of images with places to measure recall on, never the evaluation "
            "queries. By default of --calibration, each left out of its own search."
        ),
    ] = None,
    max_recall_drop: Annotated[
        float, typer.Option(help="auto: points of R@1 that may be lost.")
    ] = 0.5,
    max_minutes: Annotated[
        float, typer.Option(help="auto: minutes after which nothing more is tried.")
    ] = 10.0,
    radius: Annotated[
        float, typer.Option(help="auto: metres within which a gallery image answers.")
    ] = 25.0,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Use and keep what compilations made.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Of the choice of images.")] = 0,
    explain_precision: Annotated[
        bool,
        typer.Option("--explain-precision", help="List every node kept in FP32, and why."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Compile a model for a target: graph, engine or recipe, evidence.

    For an RTX target the engine is built here, without a GPU. For a Jetson the bundle carries a
    recipe; copy it to the board and run edgevpr build there.
    """
    from edgevpr.optional import require

    for package, extra in (("onnx", "compile"), ("onnxslim", "compile"), ("torch", "train")):
        require(package, extra=extra)
    from edgevpr.compile.options import CompileOptions
    from edgevpr.compile.pipeline import compile_artifact
    from edgevpr.train.networks.export import export_onnx

    options = CompileOptions(
        target=target,
        precision=precision,
        gallery=gallery,
        calibration=calibration,
        count=count,
        calibrator=calibrator,  # type: ignore[arg-type]  # checked there
        tuning=tuning,
        max_recall_drop=max_recall_drop,
        auto_minutes=max_minutes,
        radius_m=radius,
        seed=seed,
        cache=cache,
    )
    record = compile_artifact(
        model,
        options,
        out=output,
        export=export_onnx,
        open_gallery=_open_gallery,
        track=console.track,
    )
    if json:
        console.emit_json(record)
        return
    parity = record.evidence["parity"]
    console.table(
        f"{record.precision} against fp32, {parity['images']} images ({parity['provenance']})",
        ["max error", "min cosine", "mean cosine", "nodes", "int8 layers", "MB"],
        [
            [
                f"{parity['max_abs_error']:.1e}",
                f"{parity['min_cosine']:.5f}",
                f"{parity['mean_cosine']:.5f}",
                record.evidence["nodes"]["final"],
                len(record.evidence["int8_nodes"]),
                sum(record.evidence["bytes"].values()) / 1e6,
            ]
        ],
    )
    if explain_precision:
        _explain(record)
    if decision := record.evidence.get("auto"):
        console.note(f"auto: {decision['reason']}")
    if latency := record.evidence.get("latency"):
        figures = [
            f"{name} {latency[name]['p50_ms']:.2f} ms"
            for name in ("fp32", "int8")
            if name in latency
        ]
        console.note(f"one image on one thread of {latency['device']}: {', '.join(figures)}")
    for warning in record.evidence["warnings"]:
        console.note(f"warning: {warning}")
    console.note(f"wrote {output}: {record.target} {record.precision}, {record.output_dim} values")
    console.note(f"next: {_next(record.runtime, output, gallery)}")


def _open_gallery(path: Path) -> "Map":
    from edgevpr.runtime.gallery.gallery import Gallery

    return Gallery(path)


def _explain(record: "BundleRecord") -> None:
    """Nodes in FP32 with the reason, and the layers in INT8."""
    kept = record.evidence["fp32_nodes"]
    if record.precision == "fp32":
        console.note("every node runs in FP32: the bundle was compiled so")
        return
    console.table(
        f"{len(kept)} nodes kept in FP32", ["node", "why"], [[n, why] for n, why in kept.items()]
    )
    if record.evidence["int8_nodes"]:
        console.table("Layers in INT8", ["layer"], [[n] for n in record.evidence["int8_nodes"]])


def _next(runtime: str, bundle: Path, gallery: Path | None) -> str:
    if runtime == "tensorrt":
        return (
            f"edgevpr build {bundle} --host user@board, or copy it there and build it on the board"
        )
    return f"edgevpr run SOURCE --bundle {bundle} --gallery {gallery or 'GALLERY'}"
