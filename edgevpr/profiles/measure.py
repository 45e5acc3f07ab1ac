"""Measurement of a compiled bundle and a gallery on real frames: ``edgevpr profile``."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.features import Features, check_full_path
from edgevpr.artifacts.folder import write_artifact
from edgevpr.artifacts.manifest import write_json
from edgevpr.artifacts.records import BundleRecord, ProfileRecord, ProfileRow
from edgevpr.artifacts.space import check_same_space
from edgevpr.errors import MissingExtraError, UsageError
from edgevpr.places.positives import rule_of
from edgevpr.places.table import ImageTable
from edgevpr.printable import utf8
from edgevpr.profiles.configuration import (
    EXIT,
    TOP_K,
    Configuration,
    Searched,
    at_exit,
    measure_configuration,
)
from edgevpr.profiles.context import device_context, peak_memory_mb
from edgevpr.profiles.labelled_frames import read_frames
from edgevpr.progress import Track, silent
from edgevpr.redact import redact
from edgevpr.retrieval.exact import SEARCH_DEPTH
from edgevpr.runtime.engines.runner import AnytimeRunner, Runner
from edgevpr.runtime.judge import judge_for
from edgevpr.runtime.localizer import Localizer
from edgevpr.runtime.open import Bundle, open_bundle, open_localizer


class ExactMap:
    """The gallery's full descriptors in float32, searched exactly: the reference of an index.

    Args:
        path: features artifact of the gallery images.
        space: descriptor space id expected, and the artifact that expects it.
    """

    def __init__(self, path: Path, *, space: str = "", space_of: str = "") -> None:
        import faiss

        self.features = Features(path)
        check_full_path(self.features.record, path)
        if space:
            check_same_space(self.features.space, str(path), space, space_of)
        self.images = self.features.table
        self.bytes_per_image = 4.0 * self.features.record.dim
        self._index: Any = faiss.IndexFlatIP(self.features.record.dim)
        for start in range(0, len(self.images), 16384):
            block = np.asarray(self.features.descriptors[start : start + 16384], np.float32)
            self._index.add(np.ascontiguousarray(block))

    def search(self, descriptors: NDArray[np.float32]) -> NDArray[np.int64]:
        """(B, D) -> (B, k) rows of ``images``, best first; one thread, like the gallery's."""
        import faiss

        faiss.omp_set_num_threads(1)
        rows = self._index.search(np.ascontiguousarray(descriptors, np.float32), TOP_K)[1]
        return np.asarray(rows, np.int64)


@contextlib.contextmanager
def open_configurations(
    bundle: Bundle,
    gallery: Path | str,
    *,
    features: Path | str | None = None,
    name: str = "",
    exact_name: str = "",
    threads: int = 0,
) -> Iterator[list[tuple[Configuration, ImageTable]]]:
    """The bundle's engine with the gallery's index and, with ``features``, with exact search.

    Yields:
        (configuration, images of the map it searches), in that order; of a bundle with early
        exits one for each exit, with the search parameters and the confidence of that exit.

    Raises:
        ArtifactError, SpaceMismatchError: the artifacts do not belong together.
        UsageError: exact search was asked of a bundle that emits the index's space only.
        TargetError: the engine does not run on this machine.
    """
    record = bundle.record
    if features is not None and record.projection:
        raise UsageError(
            f"found {bundle.path} with the gallery's projection fused, which gives "
            f"{record.output_dim} of {record.dim} numbers, expected all of them for exact search: "
            "leave out `features`, or run edgevpr compile MODEL again without a gallery"
        )
    name = name or _usual_name(record)
    ways = _ways(record)
    with open_localizer(bundle, gallery, threads=threads) as localizer:
        images = localizer.gallery.images
        configurations = [
            (_with_index(localizer, record, at_exit(name, exit), exit), images) for exit in ways
        ]
        if features is not None:
            exact = ExactMap(Path(features), space=bundle.artifact.space, space_of=str(bundle.path))
            flat = exact_name or f"{name}-exact"
            configurations += [
                (
                    _with_exact_search(localizer, record, exact, at_exit(flat, exit), exit),
                    exact.images,
                )
                for exit in ways
            ]
        yield configurations


def _usual_name(record: BundleRecord) -> str:
    return f"{record.target}-{record.precision}"


def _ways(record: BundleRecord) -> list[str]:
    """The exits of a bundle, earliest first and "full" last; "" alone for one without."""
    return [each.name for each in record.exits] or [""]


def profile(
    bundle: Path | str,
    gallery: Path | str,
    source: Path | str,
    *,
    features: Path | str | None = None,
    name: str = "",
    exact_name: str = "",
    count: int = 300,
    warmup: int = 20,
    radius_m: float = 25.0,
    threads: int = 0,
    track: Track = silent,
) -> ProfileRecord:
    """Latency of every stage and, where the images say their places, recall; by exit.

    Args:
        bundle, gallery: artifacts.
        source: folder of images (all of them count for recall) or a video file.
        features: artifact of the gallery images: adds the same engine with exact search.
        name, exact_name: of the configurations; target and precision when left out.
        count: frames that are timed, spread evenly over the source; 0 for all.
        warmup: frames before those, not timed.
        radius_m: positives lie within it.
        threads: of one inference on the CPU; 0: one per core.
    """
    frames = read_frames(Path(source), limit=count)
    opened = open_bundle(bundle)
    rows: list[ProfileRow] = []
    with open_configurations(
        opened, gallery, features=features, name=name, exact_name=exact_name, threads=threads
    ) as configurations:
        device = device_context(threads={"engine": str(threads or "all cores"), "faiss": "1"})
        answers, rule = None, ""
        for configuration, images in configurations:
            answers = frames.answers(images, radius_m)
            rule = rule_of(frames.table, images, radius_m) if frames.table is not None else ""
            rows.append(
                measure_configuration(
                    configuration,
                    frames,
                    answers=answers,
                    database=len(images),
                    count=count,
                    warmup=warmup,
                    track=track,
                )
            )
        database = len(configurations[0][1])
    return ProfileRecord(
        rows=rows,
        device=msgspec.structs.replace(device, rss_mb=peak_memory_mb()),
        source=utf8(redact(frames.source)),
        frames=len(rows[0].samples_ms["end_to_end"]),
        warmup=warmup,
        queries=len(answers) if answers is not None else 0,
        without_positives=sum(not len(found) for found in answers or []),
        database=database,
        radius_m=radius_m,
        evidence={name or _usual_name(opened.record): opened.record.evidence},
        rule=rule,
    )


def write_profile(
    output: Path, record: ProfileRecord, config: dict[str, Any], *, title: str = ""
) -> bool:
    """Write the profile artifact; the page in it needs the extra ``report``.

    Returns:
        False where jinja2 or matplotlib is missing and the artifact has no ``report.html``.
    """
    from edgevpr.profiles.report.render_report import report_from_records

    with write_artifact(output, "profile") as folder:
        write_json(folder / "profile.json", record)
        write_json(folder / "config.json", config)
        try:
            page = report_from_records([record], title=title)
        except MissingExtraError:
            return False
        (folder / "report.html").write_text(page, encoding="utf-8")
    return True


def _with_index(
    localizer: Localizer, record: BundleRecord, name: str, exit: str = ""
) -> Configuration:
    """What ``edgevpr run`` executes for a frame, the confidence included."""
    runner, index, judge = localizer.runner, localizer.gallery, localizer.judge
    parameters = index.parameters
    if exit:
        judge = judge_for(index, record, exit=exit)
        parameters = index.parameters_at(exit, record.model_digest)

    def search(descriptor: NDArray[np.float32]) -> NDArray[np.integer] | Searched:
        index.use(parameters)
        scores, rows = index.search(descriptor, SEARCH_DEPTH)
        if judge is None:
            return rows
        return Searched(rows, judge.confidence(scores[0], rows[0], index.images))

    projection = "in search" if index.record.projection else "none"
    return Configuration(
        name=name,
        preprocess=record.preprocess,
        engine=_engine(runner, exit),
        search=search,
        threshold=judge.threshold if judge else None,
        bytes_per_image=index.record.bytes_per_image,
        facts=_facts(
            record,
            runner,
            index=f"{index.record.factory}, {parameters}",
            projection="in the engine" if record.projection else projection,
            exit=exit,
        ),
    )


def _with_exact_search(
    localizer: Localizer, record: BundleRecord, exact: ExactMap, name: str, exit: str = ""
) -> Configuration:
    """The same engine with exact search in the full descriptor space."""
    return Configuration(
        name=name,
        preprocess=record.preprocess,
        engine=_engine(localizer.runner, exit),
        search=exact.search,
        bytes_per_image=exact.bytes_per_image,
        facts=_facts(
            record, localizer.runner, index=f"exact, {record.dim} x float32", projection="none",
            exit=exit,
        ),
    )  # fmt: skip


def _engine(runner: Runner, exit: str) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """A new frame through one exit, nothing kept of the frame before; "": the one way there is."""
    if not exit:
        return runner.infer
    anytime = cast(AnytimeRunner, runner)

    def through(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        anytime.start(images)
        return anytime.at(exit)

    return through


def _facts(
    record: BundleRecord, runner: Runner, *, index: str, projection: str, exit: str = ""
) -> dict[str, str]:
    shares = {each.name: f"{100 * each.share:.0f} %" for each in record.exits}
    return {
        **({EXIT: exit, "cost": shares[exit]} if exit else {}),
        "target": record.target,
        "precision": record.precision,
        "engine": runner.device,
        "index": index,
        "projection": projection,
        "network": record.model_digest[:12],
    }
