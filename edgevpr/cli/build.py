"""Verb ``edgevpr build``: the engine of a bundle, built on this device."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgevpr.cli import console
from edgevpr.printable import counted, shell_word

if TYPE_CHECKING:
    from edgevpr.compile.engine.sidecars import BuildReport


def command(
    bundle: Annotated[Path, typer.Argument(help="Bundle artifact (edgevpr compile).")],
    dla: Annotated[
        int | None,
        typer.Option(
            min=0, max=1, help="Prefer this deep learning accelerator, the GPU does the rest."
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Build on this board over ssh, user@board or a name from ~/.ssh/config, and bring "
            "the engine, its evidence and its latency back."
        ),
    ] = None,
    host_edgevpr: Annotated[
        str, typer.Option(help="edgevpr on that board, where its PATH does not have it.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Build a bundle's engine on this device and check its descriptors.

    Descriptors of the golden images are compared with those that the bundle carries.
    """
    if host is not None:
        from edgevpr.compile.engine.over_ssh import build_on_host

        report = build_on_host(bundle, host, dla=dla, host_edgevpr=host_edgevpr)
    else:
        from edgevpr.compile.engine.build_engine import build_bundle

        report = build_bundle(bundle, dla=dla, track=console.track)
    if json:
        console.emit_json(report)
        return
    show(report)
    console.note(f"next: edgevpr run SOURCE --bundle {shell_word(bundle)} --gallery GALLERY")


def show(report: "BuildReport") -> None:
    """Print a report of a build, as notes."""
    if report.host:
        console.note(f"built on {report.host}, brought back into {report.bundle}")
    for engine in report.engines:
        jetpack = engine.jetpack and f"JetPack {engine.jetpack}"
        where = "".join(f", {part}" for part in (engine.target, jetpack) if part)
        console.note(
            f"built {engine.engine} in {engine.build_seconds:.1f} s: {engine.precision}, "
            f"{engine.runtime} {engine.version}, {engine.sm}{where}"
        )
        if layers := report.layers.get(engine.engine):
            counts = ", ".join(f"{n} {name}" for name, n in layers.precisions.items())
            console.note(f"{counted(layers.layers, 'layer')} after fusion: {counts}")
    if report.fell_back:
        console.note(f"{len(report.fell_back)} layers run on the GPU, as the DLA lacks them:")
        for name in report.fell_back:
            console.note(f"  {name}")
    if report.parity is not None:
        console.note(
            f"parity with FP32 on {counted(report.parity.images, 'golden image')}: cosine at least "
            f"{report.parity.min_cosine:.5f}, mean {report.parity.mean_cosine:.5f}"
        )
    if report.exits:
        console.table(
            "Exits",
            ["exit", "min cosine", "mean cosine", "ms", "ms p95"],
            [
                [
                    name,
                    f"{run.parity.min_cosine:.5f}",
                    f"{run.parity.mean_cosine:.5f}",
                    f"{run.latency.p50_ms:.2f}",
                    f"{run.latency.p95_ms:.2f}",
                ]
                for name, run in report.exits.items()
            ],
        )
    if report.latency is not None:
        console.note(
            f"one image on {report.latency.device}: {report.latency.p50_ms:.2f} ms median, "
            f"{report.latency.p95_ms:.2f} ms 95th percentile"
        )
    for remark in report.remarks:
        console.note(remark)
    if report.trtexec:
        console.note(f"the same by hand, inside the bundle: {report.trtexec}")
