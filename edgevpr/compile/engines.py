"""Engine files in a bundle, each with the sidecar that says what it is and where it runs."""

import hashlib
from pathlib import Path

from edgevpr import artifact
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
) -> EngineSidecar:
    """Write ``engines/NAME.engine`` (plain TensorRT bytes) and ``engines/NAME.json``.

    Args:
        graph_sha256: of the bundle's ``model.onnx``, whichever of its graphs was built.
        board: where it was built, in words.
    """
    name = f"{precision}-sm{sm}-{runtime}-{engine.version}"
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
    )
    artifact.write_atomic(folder / FOLDER / sidecar.engine, engine.data)
    artifact.write_json(folder / FOLDER / f"{name}.json", sidecar)
    return sidecar
