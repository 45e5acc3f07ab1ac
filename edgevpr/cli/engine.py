"""Build of the engine that a bundle lacks, before a first run on a device."""

from pathlib import Path

from edgevpr.cli import console


def build_if_missing(path: Path) -> None:
    """Build a bundle's engine for this machine, into the bundle, unless it has one.

    Raises:
        TargetError: this machine can neither run nor build it.
        ResourceError: the bundle cannot be written.
    """
    from edgevpr.artifacts.folder import open_artifact
    from edgevpr.artifacts.records import BundleRecord
    from edgevpr.errors import EngineMissingError

    bundle = open_artifact(path, "bundle")
    record = bundle.read("bundle.json", BundleRecord)
    if record.runtime == "onnxruntime":
        return
    from edgevpr.runtime.engines.engine_choice import check_engine

    try:
        check_engine(bundle, record)
        return
    except EngineMissingError as error:
        found = str(error).partition(": run edgevpr build")[0]
    console.note(f"{found}: building one first, which takes minutes, once")
    from edgevpr.cli.build import show
    from edgevpr.compile.engine.build_engine import build_bundle

    show(build_bundle(path, track=console.track))
