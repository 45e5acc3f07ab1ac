"""Verbs ``edgevpr bundle ...``: content, hashes and signature of a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgevpr.cli import console, signatures
from edgevpr.cli.compile import show_exits
from edgevpr.cli.verbs import new_app
from edgevpr.printable import counted

if TYPE_CHECKING:
    from edgevpr.artifacts.records import BundleRecord

group = new_app(
    help="Show what is in a bundle, check it, sign it.",
)
Bundle = Annotated[Path, typer.Argument(help="Bundle artifact (edgevpr compile).")]


@group.command("show")
def show(bundle: Bundle, json: signatures.Json = False) -> None:
    """Show a bundle's target, precision, sizes, engines, parity and exits."""
    from edgevpr.artifacts.folder import open_artifact
    from edgevpr.artifacts.records import BundleRecord

    opened = open_artifact(bundle, "bundle")
    record = opened.read("bundle.json", BundleRecord)
    if json:
        console.emit_json({"manifest": opened.manifest, "bundle": record})
        return
    parity = record.evidence.get("parity") or {}
    size = sum(entry.size for entry in opened.manifest.files.values())
    rows: list[list[object]] = [
        ["target", f"{record.target} ({record.runtime})"],
        ["precision", record.precision],
        ["input", f"{record.preprocess.height} x {record.preprocess.width} RGB, uint8"],
        ["descriptor", f"{record.output_dim} of {record.dim}"],
        ["descriptor space", opened.manifest.space],
        ["projection fused", record.projection[:12] or "no"],
        ["graph SHA-256", record.graph_sha256],
        ["engines", _engines(record)],
        ["files", f"{len(opened.manifest.files)}, {size / 1e6:.1f} MB"],
        ["signed", "yes" if "signature.json" in opened.manifest.files else "no"],
    ]
    if "min_cosine" in parity:
        rows.append(
            ["parity with FP32", f"cosine {parity['min_cosine']:.5f} at least, "
             f"{parity['mean_cosine']:.5f} mean, {counted(parity['images'], 'image')}"]
        )  # fmt: skip
    console.table(str(bundle), ["", ""], rows)
    show_exits(record)


def _engines(record: "BundleRecord") -> str:
    if record.runtime == "onnxruntime":
        return "none needed: ONNX Runtime runs the graph"
    return ", ".join(record.engines) or "none: run edgevpr build on the device"


@group.command("key")
def key(
    output: Annotated[Path, typer.Option("--output", "-o", help="Private key to write.")],
    json: signatures.Json = False,
) -> None:
    """Make a key to sign with; prints the line for a robot's file of trusted keys."""
    from edgevpr.artifacts.sign import new_key

    public = new_key(output)
    if json:
        console.emit_json({"private_key": str(output), "public_key": public})
        return
    print(f"{public} {output.stem}")


signatures.add_to(
    group,
    "bundle",
    made_by="compile",
    verifying="Check every file's hash, the signature, and who answers for each engine.",
    signing="Sign a bundle, its engines too; one that a board builds later has the board's "
    "signature.",
)
