"""The steps of ``edgevpr compile``: read, export, choose images, compile."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from edgevpr.compile.bundle import compile_model, resolve_precision
from edgevpr.compile.calibration import read_calibration, synthetic_images
from edgevpr.compile.precision import check_calibration
from edgevpr.compile.source import read_source
from edgevpr.errors import ResourceError
from edgevpr.progress import Track, silent
from edgevpr.records import BundleRecord
from edgevpr.targets import load_target


def compile_artifact(
    model: Path,
    *,
    target: str,
    precision: str | None,
    out: Path,
    export: Callable[[Path, Path], object],
    gallery: Path | None = None,
    calibration: Path | None = None,
    count: int = 128,
    seed: int = 0,
    track: Track = silent,
) -> BundleRecord:
    """Compile a model artifact; see ``compile_model``.

    What can be refused is refused before the minutes that export and calibration take.

    Args:
        export: (model artifact, ONNX file to write); the train room's, which has torch.
        gallery: gallery artifact whose projection is fused.
        calibration: folder of images; without it parity is measured on synthetic noise.
        count: images to calibrate with.

    Raises:
        DataError: INT8 without calibration images.
        ResourceError: nothing can be written at ``out``.
    """
    resolved = resolve_precision(load_target(target), precision)
    _check_writable(out)
    if resolved == "int8" and calibration is None:
        check_calibration(None)
    with tempfile.TemporaryDirectory(prefix="edgevpr-export-") as folder:
        source = read_source(model, Path(folder, "model.onnx"), gallery)
        images = (
            synthetic_images(source.preprocess, seed=seed)
            if calibration is None
            else read_calibration(calibration, source.preprocess, count, seed=seed, track=track)
        )
        for _ in track([None], "exporting to ONNX", 1):
            export(model, source.graph)
        return compile_model(
            source,
            target=target,
            precision=resolved,
            out=out,
            images=images,
            config={
                "verb": "compile",
                "model": str(model),
                "target": target,
                "precision": resolved,
                "gallery": str(gallery) if gallery else None,
                "calibration": str(calibration) if calibration else None,
                "images": count,
                "seed": seed,
            },
            track=track,
        )


def _check_writable(out: Path) -> None:
    parent = out.resolve().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ResourceError(
            f"{parent} is not a folder this user can write to, expected one for {out.name}: choose "
            "another output with -o"
        )
