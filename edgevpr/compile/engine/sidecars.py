"""Engine files in a bundle, their sidecars and their evidence."""

import hashlib
import shutil
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from edgevpr.artifacts.manifest import (
    Artifact,
    FileEntry,
    Manifest,
    decode_json,
    sha256_file,
    write_json,
)
from edgevpr.artifacts.records import BundleRecord, EngineSidecar
from edgevpr.compile.engine.builder import Engine
from edgevpr.compile.engine.first_run import EngineLatency, FirstRun
from edgevpr.compile.engine.layer_report import LayerSummary
from edgevpr.compile.engine.parity import Parity
from edgevpr.files import write_atomic

FOLDER = "engines"
RECORD = "bundle.json"
#: End of the name of an engine's evidence, beside it in the bundle.
EVIDENCE = ".evidence.json"
#: End of the name of the board's signature of it (``edgevpr.artifacts.sign``).
SIGNED = ".signature.json"
#: Ends of the names of everything that an engine has in the bundle.
ENDS = (".engine", ".json", EVIDENCE, SIGNED)


class BuildReport(msgspec.Struct, frozen=True):
    """Report of a build; with one engine, also the engine's evidence in the bundle."""

    bundle: str
    engines: list[EngineSidecar]
    #: golden inputs through the new engine against golden descriptors; None: not run here.
    parity: Parity | None
    #: of one image on this machine; None where the engine does not run here.
    latency: EngineLatency | None
    remarks: list[str]
    #: precision -> why its engine was refused here, before a safer one was taken.
    refused: dict[str, str] = {}
    #: layers that DLA does not run, by name.
    fell_back: list[str] = []
    #: engine -> its layers by precision, where it can be inspected.
    layers: dict[str, LayerSummary] = {}
    #: the same by hand.
    trtexec: str = ""
    workspace_mib: int | None = None
    #: where it was built over ssh: user@board.
    host: str = ""
    #: of a bundle with early exits: each exit's parity and latency, "full" last.
    exits: dict[str, FirstRun] = {}


@dataclass(frozen=True)
class EngineDevice:
    """The device an engine runs on."""

    #: "tensorrt" or "tensorrt-rtx".
    runtime: str
    #: compute capability times ten.
    sm: int
    #: where it was built, in words.
    board: str
    #: device profile of a Jetson, and its JetPack; '' elsewhere.
    target: str = ""
    jetpack: str = ""
    #: deep learning accelerator; None: GPU alone.
    dla: int | None = None


@dataclass(frozen=True)
class EngineGraph:
    """The graph an engine was built from."""

    precision: str
    #: ``graph_sha256`` of the bundle, whichever of its graphs was built.
    bundle_sha256: str
    #: the graph that was built, and its SHA-256; '' for that of ``model.onnx``.
    file: str = "model.onnx"
    sha256: str = ""
    #: of a bundle with early exits: the graph that the engine runs, by file.
    part: str = ""


def write_engine(
    folder: Path, engine: Engine, device: EngineDevice, graph: EngineGraph
) -> EngineSidecar:
    """Write ``engines/NAME.engine`` (plain TensorRT bytes) and ``engines/NAME.json``."""
    name = _engine_name(engine, device, graph)
    sidecar = EngineSidecar(
        engine=f"{name}.engine",
        sha256=hashlib.sha256(engine.data).hexdigest(),
        graph_sha256=graph.bundle_sha256,
        precision=graph.precision,
        runtime=device.runtime,
        version=engine.version,
        sm=f"sm_{device.sm}",
        board=device.board,
        flags=engine.flags,
        build_seconds=round(engine.seconds, 3),
        target=device.target,
        jetpack=device.jetpack,
        dla=device.dla,
        built_from=graph.file,
        built_from_sha256=graph.sha256 or graph.bundle_sha256,
        graph=graph.part,
        built=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    write_atomic(folder / FOLDER / sidecar.engine, engine.data)
    write_json(folder / FOLDER / f"{name}.json", sidecar)
    return sidecar


def _engine_name(engine: Engine, device: EngineDevice, graph: EngineGraph) -> str:
    """For example ``fp16-jetson-orin-nx-16gb-sm87-tensorrt-10.3.0``, or ``seg1-fp16-...``."""
    parts = [
        Path(graph.part).stem,
        graph.precision,
        device.target,
        f"sm{device.sm}",
        device.runtime,
        engine.version,
    ]
    if device.dla is not None:
        parts.append(f"dla{device.dla}")
    return "-".join(part for part in parts if part)


def sidecar_of(bundle: Artifact, engine: str) -> EngineSidecar:
    """The sidecar of one of a bundle's engines."""
    stem = Path(engine).name.removesuffix(".engine")
    return bundle.read(f"{FOLDER}/{stem}.json", EngineSidecar)


def replaced_by(bundle: Artifact, engines: list[str], new: EngineSidecar) -> list[str]:
    """Those of a bundle's engines that a new one replaces: of the same kind of machine.

    An engine of another TensorRT release goes too: its machine has been updated.
    """
    place = (new.runtime, new.sm, new.target)
    old = {name: sidecar_of(bundle, name) for name in engines}
    return [name for name, s in old.items() if (s.runtime, s.sm, s.target) == place]


def stage(
    folder: Path, bundle: Artifact, record: BundleRecord, new: list[EngineSidecar]
) -> Artifact:
    """Fill ``folder`` with the bundle around its new engines; the bundle as it will stand."""
    gone = {n for sidecar in new for n in replaced_by(bundle, record.engines, sidecar)}
    stems = {name.removesuffix(".engine") for name in gone}
    dropped = {f"{FOLDER}/{s}{end}" for s in stems for end in ENDS}
    for name in bundle.manifest.files:
        if name in dropped or (folder / name).exists():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.held(name), folder / name)
    names = [name for name in record.engines if name not in gone]
    engines = list(dict.fromkeys([*names, *(sidecar.engine for sidecar in new)]))
    # As it stands but for this list: fields of another edgevpr are signed too.
    document = decode_json(bundle.path / RECORD, bundle.bytes(RECORD), dict[str, Any])
    write_json(folder / RECORD, {**document, "engines": engines})
    files = {
        file.relative_to(folder).as_posix(): FileEntry(file.stat().st_size, sha256_file(file))
        for file in folder.rglob("*")
        if file.is_file()
    }
    old = bundle.manifest
    return Artifact(folder, Manifest(old.format, old.kind, old.creator, old.space, files))


def write_evidence(folder: Path, report: BuildReport) -> None:
    """Write the report of a build beside each engine it made, without the others'."""
    for sidecar in report.engines:
        name = sidecar.engine
        own = {name: report.layers[name]} if name in report.layers else {}
        evidence = msgspec.structs.replace(
            report, bundle=Path(report.bundle).name, engines=[sidecar], layers=own
        )
        stem = name.removesuffix(".engine")
        write_json(folder / FOLDER / f"{stem}{EVIDENCE}", evidence)
