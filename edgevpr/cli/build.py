"""``edgevpr build``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgevpr.cli import console

if TYPE_CHECKING:
    from edgevpr.artifact import Artifact


def command(
    bundle: Annotated[Path, typer.Argument(help="Bundle artifact (edgevpr compile).")],
    json: Annotated[bool, typer.Option("--json", help="Print what was built.")] = False,
) -> None:
    """Build a bundle's engine on this device and check it against the bundle's golden vectors."""
    from edgevpr.compile.build import build_bundle

    report = build_bundle(bundle, describe=_describe, track=console.track)
    if json:
        console.emit_json(report)
        return
    for engine in report.engines:
        console.note(
            f"built {engine.engine} in {engine.build_seconds:.1f} s: {engine.precision}, "
            f"{engine.runtime} {engine.version}, {engine.sm}"
        )
    if report.parity is not None:
        console.note(
            f"parity with FP32 on {report.parity.images} golden images: cosine at least "
            f"{report.parity.min_cosine:.5f}, mean {report.parity.mean_cosine:.5f}"
        )
    for remark in report.remarks:
        console.note(remark)
    console.note(f"next: edgevpr run SOURCE --bundle {bundle} --gallery GALLERY")


def _describe(bundle: "Artifact", images: Any) -> Any:
    from edgevpr.runtime.runners import runner_from_bundle

    with runner_from_bundle(bundle) as runner:
        return runner.infer(images)
