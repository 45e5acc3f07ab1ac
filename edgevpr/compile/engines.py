"""Engine files in a bundle, each with the sidecar that says what it is and where it runs."""

import hashlib
from datetime import datetime, timezone
from pathlib import Path

from edgevpr import artifact
from edgevpr.artifact import Artifact
from edgevpr.compile.builder import Engine
from edgevpr.records import EngineSidecar

FOLDER = "engines"


def write_engine(
    folder: Path,
    engine: Engine,
    *,
    runtime: str,
    precision: str,
    sm: int,
    graph_sha256: str,
    board: str,
    target: str = "",
    jetpack: str = "",
    dla: int | None = None,
    built_from: str = "model.onnx",
    built_from_sha256: str = "",
) -> EngineSidecar:
    """Write ``engines/NAME.engine`` (plain TensorRT bytes) and ``engines/NAME.json``.

    Args:
        graph_sha256: of the bundle's ``model.onnx``, whichever of its graphs was built.
        board: where it was built, in words.
        target: device profile of the Jetson it was built on; '' elsewhere.
        built_from: the graph that was built, with its SHA-256.
    """
    name = "-".join(
        part
        for part in (
            precision,
            target,
            f"sm{sm}",
            runtime,
            engine.version,
            "" if dla is None else f"dla{dla}",
        )
        if part
    )
    sidecar = EngineSidecar(
        engine=f"{name}.engine",
        sha256=hashlib.sha256(engine.data).hexdigest(),
        graph_sha256=graph_sha256,
        precision=precision,
        runtime=runtime,
        version=engine.version,
        sm=f"sm_{sm}",
        board=board,
        flags=engine.flags,
        build_seconds=round(engine.seconds, 3),
        target=target,
        jetpack=jetpack,
        dla=dla,
        built_from=built_from,
        built_from_sha256=built_from_sha256 or graph_sha256,
        built=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    artifact.write_atomic(folder / FOLDER / sidecar.engine, engine.data)
    artifact.write_json(folder / FOLDER / f"{name}.json", sidecar)
    return sidecar


def sidecar_of(bundle: Artifact, engine: str) -> EngineSidecar:
    """The sidecar of one of a bundle's engines."""
    stem = Path(engine).name.removesuffix(".engine")
    return bundle.read(f"{FOLDER}/{stem}.json", EngineSidecar)


def replaced_by(bundle: Artifact, engines: list[str], new: EngineSidecar) -> list[str]:
    """Those of a bundle's engines that a new one takes the place of: of the same kind of machine.

    An engine of another TensorRT release goes too: its machine has been updated.
    """
    place = (new.runtime, new.sm, new.target)
    old = {name: sidecar_of(bundle, name) for name in engines}
    return [name for name, s in old.items() if (s.runtime, s.sm, s.target) == place]
