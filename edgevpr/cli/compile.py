"""Verb ``edgevpr compile``: a bundle from a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgevpr.cli import console
from edgevpr.cli.options import takes
from edgevpr.compile.options import CompileOptions
from edgevpr.printable import counted, shell_word

if TYPE_CHECKING:
    from edgevpr.artifacts.records import BundleRecord


@takes(CompileOptions, short={"target": "-t"})
def command(
    model: Annotated[Path, typer.Argument(help="Model artifact (edgevpr train).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle artifact to write.")],
    options: CompileOptions,
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
    from edgevpr.compile.pipeline import compile_artifact
    from edgevpr.train.anytime.export_segments import export_segments
    from edgevpr.train.networks.export import export_onnx

    record = compile_artifact(
        model,
        options,
        out=output,
        export=export_onnx,
        export_parts=export_segments,
        track=console.track,
    )
    if json:
        console.emit_json(record)
        return
    parity = record.evidence["parity"]
    console.table(
        f"{record.precision} against fp32, {counted(parity['images'], 'image')} "
        f"({parity['provenance']})",
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
    show_exits(record)
    if explain_precision:
        _explain(record)
    if decision := record.evidence.get("auto"):
        console.note(f"auto: {decision['reason']}")
    for graph, decision in record.evidence.get("auto_graphs", {}).items():
        console.note(f"auto, {graph}: {decision['reason']}")
    if path := record.evidence.get("full_path"):
        console.note(
            f"the whole path: {path['segments']['p50_ms']:.2f} ms through its segments, "
            f"{path['model.onnx']['p50_ms']:.2f} ms as one graph: it runs {path['runs']}"
        )
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
    console.note(f"next: {_next(record.runtime, output, options.gallery)}")


def show_exits(record: "BundleRecord") -> None:
    """Print a table of a bundle's exits; nothing where it has none."""
    if not record.exits:
        return
    rows = [
        [
            exit.name,
            " ".join(Path(file).stem for file in exit.graphs),
            f"{100 * exit.share:.0f}",
            f"{exit.min_cosine:.5f}",
            "-" if exit.ms_p50 is None else f"{exit.ms_p50:.2f}",
            "-" if exit.ms_p95 is None else f"{exit.ms_p95:.2f}",
        ]
        for exit in record.exits
    ]
    columns = ["exit", "graphs", "cost %", "min cosine", "ms", "ms p95"]
    console.table("Exits, each against FP32 at the same exit", columns, rows)


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
    here, places = shell_word(bundle), shell_word(gallery or "GALLERY")
    if runtime == "tensorrt":
        return f"edgevpr build {here} --host user@board, or copy it there and build it on the board"
    return f"edgevpr run SOURCE --bundle {here} --gallery {places}"
