"""Openers of a bundle, a gallery, and the localizer of both.

The one place where a bundle, a gallery, its confidence model, an engine and a sequence filter are
put together, and where it is checked that the artifacts are whole and belong together.
"""

from dataclasses import dataclass
from pathlib import Path
from warnings import warn

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import BundleRecord
from edgevpr.errors import UsageError
from edgevpr.runtime.check_arguments import NearLike
from edgevpr.runtime.engines.runner import runner_from_bundle
from edgevpr.runtime.exits.exit_plan import Notify, plan_exits
from edgevpr.runtime.gallery.gallery import Gallery
from edgevpr.runtime.judge import judge_for
from edgevpr.runtime.localizer import Localizer
from edgevpr.runtime.sequence import MAX_SPEED, SequenceFilter


@dataclass(frozen=True)
class Bundle:
    """A bundle artifact, opened: what ``edgevpr compile`` wrote."""

    artifact: Artifact
    record: BundleRecord

    @property
    def path(self) -> Path:
        return self.artifact.path


def open_bundle(path: Path | str, *, verify: bool = True) -> Bundle:
    """The bundle at ``path``; its engine is not loaded.

    Args:
        verify: hash every file.

    Raises:
        DataError, ArtifactError: no artifact, not a bundle, truncated or changed.
    """
    artifact = open_artifact(Path(path), "bundle", verify=verify)
    return Bundle(artifact, artifact.read("bundle.json", BundleRecord))


def open_gallery(
    path: Path | str, *, parameters: str | None = None, verify: bool = True
) -> Gallery:
    """The gallery at ``path``, for searches with descriptors.

    Args:
        parameters: FAISS search parameters (``nprobe=8,k_factor_rf=4``) in place of the operating
            point that ``edgevpr index`` chose.
        verify: hash every file.

    Raises:
        DataError, ArtifactError: no artifact, not a gallery, truncated or changed.
        UsageError: FAISS does not know ``parameters``.
    """
    return Gallery(Path(path), parameters=parameters, verify=verify)


def open_localizer(
    bundle: Path | str | Bundle,
    gallery: Path | str | Gallery,
    *,
    sequence: bool = False,
    near: NearLike | None = None,
    min_confidence: float | None = None,
    threads: int = 0,
    top: int = 5,
    parameters: str | None = None,
    max_speed: float = MAX_SPEED,
    live: bool = False,
    exit: str = FULL,
    notify: Notify | None = None,
) -> Localizer:
    """A bundle's engine and a gallery as one ``with`` block that answers camera frames.

    Args:
        bundle, gallery: folders, or what ``open_bundle`` and ``open_gallery`` gave.
        sequence: answer by all frames so far, not each alone.
        near: answer only with images near a point: a ``Near``, "lat,lon,radius" or
            (lat, lon, radius_m).
        min_confidence: least confidence of an answer that is a fix, 0 to 1; the gallery's own
            threshold when left out.
        threads: CPU threads of an ONNX Runtime engine; 0: one per core.
        top: places in an answer, best first.
        parameters: FAISS search parameters, for a gallery given as a folder.
        max_speed: metres a second the robot cannot exceed, with ``sequence``.
        live: the sequence filter takes the time of each call, not the frames' own, and a deadline
            counts from the frames' pixels being there, not from when work on one begins.
        exit: of a bundle with early exits, what answers: the name of an exit, "full" for the whole
            network, "deadline:MS", "confidence:P[,MS]" or "budget:FILE".
        notify: called with one line when the budget file goes bad, and when it is good again; a
            warning of Python's without it.

    Raises:
        DataError, ArtifactError: an artifact that is missing, damaged or of another kind.
        SpaceMismatchError: the two hold descriptors of different spaces.
        UsageError: an argument out of range, ``min_confidence`` where there is no confidence, or
            an ``exit`` that the bundle does not have.
        TargetError: the engine cannot run on this machine.
    """
    bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    if threads < 0:
        raise UsageError(f"found `threads` {threads}, expected 0 or more: pass `threads` 0")
    if not isinstance(gallery, Gallery):
        gallery = open_gallery(gallery, parameters=parameters)
    elif parameters is not None:
        raise UsageError(
            f"found `parameters` {parameters!r} with an opened gallery, expected its folder: pass "
            "them to open_gallery"
        )
    gallery.check_bundle(bundle.artifact, bundle.record)
    plan = plan_exits(
        exit,
        bundle.path,
        bundle.record,
        gallery,
        min_confidence=min_confidence,
        live=live,
        notify=notify or warn,
    )
    if plan is None:
        judge = judge_for(gallery, bundle.record, min_confidence)
    else:  # that of "full" where it is used, else of the deepest exit that is
        judge = next(reversed(plan.judges.values()))
    runner = runner_from_bundle(bundle.artifact, bundle.record, threads=threads)
    filter_ = None
    if sequence:
        filter_ = SequenceFilter(
            gallery.images,
            kept=gallery.live,
            confidence_model=judge.model if judge else None,
            max_speed=max_speed,
            live=live,
        )
    return Localizer(
        runner,
        gallery,
        bundle.record.preprocess,
        top=top,
        judge=judge,
        sequence=filter_,
        near=near,
        exits=plan,
    )
