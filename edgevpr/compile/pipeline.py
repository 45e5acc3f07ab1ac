"""The steps of ``edgevpr compile``: read, export, choose images, compile."""

import dataclasses
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgevpr.artifacts import folder as artifact
from edgevpr.artifacts.records import BundleRecord
from edgevpr.cache import cache_folder
from edgevpr.compile.auto.search import Goal
from edgevpr.compile.auto.tuning_images import Map, read_tuning
from edgevpr.compile.bundle import compile_model, resolve_precision
from edgevpr.compile.cache import Cache
from edgevpr.compile.engine.compatibility import check_target
from edgevpr.compile.precision.calibration import (
    CalibrationImages,
    images_of_gallery,
    read_calibration,
    synthetic_images,
)
from edgevpr.compile.precision.gpu_graph import Method, check_calibration
from edgevpr.compile.source import Source, read_source
from edgevpr.compile.stages import Recall, Stages
from edgevpr.device.targets import load_target
from edgevpr.errors import ResourceError, UsageError
from edgevpr.progress import Track, silent


@dataclass(frozen=True)
class CompileOptions:
    """What ``edgevpr compile`` is told beside the model and where to write."""

    target: str
    precision: str | None = None
    #: gallery artifact whose projection is fused, and in which "auto" measures recall.
    gallery: Path | None = None
    #: folder of images; None: the gallery's own, if they are where its records say. Without any,
    #: parity is measured on synthetic noise.
    calibration: Path | None = None
    #: images to calibrate with.
    count: int = 128
    calibrator: Method | None = None
    #: folder of images with places that "auto" measures recall on; None: of ``calibration``.
    tuning: Path | None = None
    max_recall_drop: float = 0.5
    auto_minutes: float = 10.0
    radius_m: float = 25.0
    seed: int = 0
    #: keep and use what earlier compilations made.
    cache: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.max_recall_drop <= 100:
            raise UsageError(
                f"found --max-recall-drop {self.max_recall_drop:g}, expected points of R@1 between "
                "0 and 100: pass --max-recall-drop 0.5"
            )
        if not self.auto_minutes > 0:
            raise UsageError(
                f"found --auto-minutes {self.auto_minutes:g}, expected minutes above 0: pass "
                "--auto-minutes 10"
            )
        if self.calibrator not in (None, "entropy", "max", "percentile"):
            raise UsageError(
                f"found --calibrator {self.calibrator}, expected entropy, max or percentile: "
                "choose one of those, or leave it out"
            )


def compile_artifact(
    model: Path,
    options: CompileOptions,
    *,
    out: Path,
    export: Callable[[Path, Path], object],
    open_gallery: Callable[[Path], Map] | None = None,
    track: Track = silent,
) -> BundleRecord:
    """Compile a model artifact; see ``compile_model``.

    What can be refused is refused before the minutes that export and calibration take.

    Args:
        export: (model artifact, ONNX file to write); the train room's, which has torch.
        open_gallery: (gallery artifact) -> its search; the runtime room's, for "auto".

    Raises:
        DataError: INT8 without calibration images.
        ResourceError: nothing can be written at ``out``.
    """
    asked = resolve_precision(load_target(options.target), options.precision)
    check_target(load_target(options.target), asked)
    _check_writable(out)
    if asked == "auto" and options.gallery is None:
        raise UsageError(
            "found --precision auto without --gallery, expected one to measure recall in: pass "
            "--gallery, or --precision int8"
        )
    cache = Cache(cache_folder() / "compile" if options.cache else None)
    with tempfile.TemporaryDirectory(prefix="edgevpr-export-") as scratch:
        source = read_source(model, Path(scratch, "model.onnx"), options.gallery)
        folder = options.calibration
        if folder is None and options.gallery is not None:
            folder = images_of_gallery(options.gallery)
        if asked in ("int8", "auto") and folder is None:
            check_calibration(None)
        images = (
            synthetic_images(source.preprocess, seed=options.seed)
            if folder is None
            else read_calibration(
                folder, source.preprocess, options.count, seed=options.seed, track=track
            )
        )
        recall = None
        if asked == "auto" and folder is not None:
            recall = _recall(source, folder, images, options, open_gallery, track)
        stages = Stages(cache, Path(scratch), track)
        for _ in track([None], "exporting to ONNX", 1):
            graph = stages.export(source.model_digest, lambda path: export(model, path))
        saved = msgspec.to_builtins(options, enc_hook=str)
        return compile_model(
            dataclasses.replace(source, graph=graph),
            target=options.target,
            precision=asked,
            out=out,
            images=images,
            config={
                **saved,
                "verb": "compile",
                "model": str(model),
                "precision": asked,
                "calibration": None if folder is None else str(folder),
                "images": options.count,
            },
            method=options.calibrator,
            recall=recall,
            cache=cache,
            track=track,
        )


def _recall(
    source: Source,
    folder: Path,
    images: CalibrationImages,
    options: CompileOptions,
    open_gallery: Callable[[Path], Map] | None,
    track: Track,
) -> Recall:
    """What "auto" is judged by: the gallery, opened, and images that it answers."""
    assert options.gallery is not None
    assert open_gallery is not None
    gallery = open_gallery(options.gallery)
    tuning = read_tuning(
        options.tuning or folder,
        gallery.images,
        source.preprocess,
        without=images.paths if options.tuning in (None, folder) else (),
        radius_m=options.radius_m,
        seed=options.seed,
        track=track,
    )
    return Recall(
        goal=Goal(options.max_recall_drop, options.auto_minutes),
        tuning=tuning,
        gallery=gallery,
        digest=artifact.open_artifact(options.gallery, "gallery", verify=False).digest,
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
