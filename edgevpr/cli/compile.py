"""``edgevpr compile``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgevpr.cli import console

if TYPE_CHECKING:
    from edgevpr.records import BundleRecord


def command(
    model: Annotated[Path, typer.Argument(help="Model artifact (edgevpr train).")],
    target: Annotated[
        str, typer.Option("--target", "-t", help="cpu, rtx-ada, jetson-orin, ...: edgevpr devices.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle artifact to write.")],
    precision: Annotated[
        str | None,
        typer.Option(help="fp32, fp16 or int8; the default is fp32 for cpu, fp16 for GPUs."),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(help="Gallery artifact: its projection is fused into the graph."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Folder of gallery or training images: INT8 ranges, parity and golden vectors."
        ),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", "-n", help="How many of them to calibrate with.", min=8)
    ] = 128,
    seed: Annotated[int, typer.Option(help="Of the choice of images.")] = 0,
    explain_precision: Annotated[
        bool,
        typer.Option("--explain-precision", help="List every node kept in FP32, and why."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the bundle's record.")] = False,
) -> None:
    """Compile a model for a target: a bundle with the graph, engines or a recipe, and evidence.

    For an RTX target the engine is built here, without a GPU. For a Jetson the bundle carries a
    recipe; copy it to the board and run edgevpr build there.
    """
    from edgevpr.optional import require

    for package, extra in (("onnx", "compile"), ("onnxslim", "compile"), ("torch", "train")):
        require(package, extra=extra)
    from edgevpr.compile.verb import compile_artifact
    from edgevpr.train.export import export_onnx

    record = compile_artifact(
        model,
        target=target,
        precision=precision,
        out=output,
        export=export_onnx,
        gallery=gallery,
        calibration=calibration,
        count=images,
        seed=seed,
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
