"""What ``edgevpr profile`` does: a compiled bundle and a gallery, measured on real frames."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.features import Features
from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import write_json
from edgevpr.artifacts.records import BundleRecord, ProfileRecord, ProfileRow
from edgevpr.artifacts.space import check_same_space
from edgevpr.errors import MissingExtraError, UsageError
from edgevpr.places.table import ImageTable
from edgevpr.profiles.configuration import TOP_K, Configuration, Searched, measure_configuration
from edgevpr.profiles.context import device_context, peak_memory_mb
from edgevpr.profiles.labelled_frames import read_frames
from edgevpr.progress import Track, silent
from edgevpr.retrieval.exact import SEARCH_DEPTH
from edgevpr.runtime.engines.runner import Runner, runner_from_bundle
from edgevpr.runtime.gallery.gallery import Gallery
from edgevpr.runtime.judge import Judge, judge_for


class ExactMap:
    """The gallery's full descriptors in float32, searched exactly: what an index is compared with.

    Args:
        path: features artifact of the gallery images.
        space: descriptor space id expected, and the artifact that expects it.
    """

    def __init__(self, path: Path, *, space: str = "", space_of: str = "") -> None:
        import faiss

        self.features = Features(path)
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
    bundle: Path,
    gallery: Path,
    *,
    exact: Path | None = None,
    name: str = "",
    exact_name: str = "",
    threads: int = 0,
) -> Iterator[list[tuple[Configuration, ImageTable]]]:
    """The bundle's engine with the gallery's index and, with ``exact``, with exact search.

    Yields:
        (configuration, images of the map it searches), in that order.

    Raises:
        ArtifactError, SpaceMismatchError: the artifacts do not belong together.
        UsageError: exact search was asked of a bundle that emits the index's space only.
        TargetError: the engine does not run on this machine.
    """
    opened = open_artifact(bundle, "bundle")
    record = opened.read("bundle.json", BundleRecord)
    index = Gallery(gallery)
    index.check_bundle(opened, record)
    if exact is not None and record.projection:
        raise UsageError(
            f"{bundle} has the gallery's projection fused and emits {record.output_dim} of "
            f"{record.dim} numbers, exact search needs them all: leave out --exact, or pass a "
            "bundle compiled without --gallery"
        )
    name = name or f"{record.target}-{record.precision}"
    projection = "in search" if index.record.projection else "none"
    projection = "in the engine" if record.projection else projection
    judge = judge_for(index, record)
    with runner_from_bundle(opened, record, threads=threads) as runner:
        found = [
            (
                _configuration(
                    name,
                    record,
                    runner,
                    _searcher(index, judge),
                    index.record.bytes_per_image,
                    f"{index.record.factory}, {index.parameters}",
                    projection,
                    judge.threshold if judge else None,
                ),
                index.images,
            )
        ]
        if exact is not None:
            flat = ExactMap(exact, space=opened.space, space_of=str(bundle))
            found.append(
                (
                    _configuration(
                        exact_name or f"{name}-exact", record, runner, flat.search,
                        flat.bytes_per_image, f"exact, {record.dim} x float32", "none",
                    ),
                    flat.images,
                )
            )  # fmt: skip
        yield found


def measure(
    bundle: Path,
    gallery: Path,
    source: Path,
    *,
    exact: Path | None = None,
    name: str = "",
    exact_name: str = "",
    timed: int = 300,
    warmup: int = 20,
    radius_m: float = 25.0,
    threads: int = 0,
    track: Track = silent,
) -> ProfileRecord:
    """Latency of every stage and, where the images say their places, recall.

    Args:
        bundle, gallery: artifacts.
        source: folder of images (all of them count for recall) or a video file.
        exact: features artifact of the gallery: adds the same engine with exact search.
        name, exact_name: of the configurations; target and precision when left out.
        timed: frames that are timed, spread evenly over the source; 0 for all.
        warmup: frames before those, not timed.
        radius_m: positives lie within it.
        threads: of one inference on the CPU; 0: one per core.
    """
    frames = read_frames(source, limit=timed)
    rows: list[ProfileRow] = []
    with open_configurations(
        bundle, gallery, exact=exact, name=name, exact_name=exact_name, threads=threads
    ) as configurations:
        device = device_context(threads={"engine": str(threads or "all cores"), "faiss": "1"})
        answers = None
        for configuration, images in configurations:
            answers = frames.answers(images, radius_m)
            rows.append(
                measure_configuration(
                    configuration,
                    frames,
                    answers=answers,
                    database=len(images),
                    timed=timed,
                    warmup=warmup,
                    track=track,
                )
            )
        database = len(configurations[0][1])
    evidence = open_artifact(bundle, "bundle", verify=False).read("bundle.json", BundleRecord)
    return ProfileRecord(
        rows=rows,
        device=msgspec.structs.replace(device, rss_mb=peak_memory_mb()),
        source=frames.source,
        frames=len(rows[0].samples_ms["end_to_end"]),
        warmup=warmup,
        queries=len(answers) if answers is not None else 0,
        without_positives=sum(not len(found) for found in answers or []),
        database=database,
        radius_m=radius_m,
        evidence={rows[0].configuration: evidence.evidence},
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


def _searcher(
    index: Gallery, judge: Judge | None
) -> Callable[[NDArray[np.float32]], NDArray[np.integer] | Searched]:
    """What ``edgevpr run`` does after the engine, the confidence included."""

    def search(descriptor: NDArray[np.float32]) -> NDArray[np.integer] | Searched:
        scores, rows = index.search(descriptor, SEARCH_DEPTH)
        if judge is None:
            return rows
        return Searched(rows, judge.confidence(scores[0], rows[0], index.images))

    return search


def _configuration(
    name: str,
    record: BundleRecord,
    runner: Runner,
    search: Any,
    bytes_per_image: float,
    index: str,
    projection: str,
    threshold: float | None = None,
) -> Configuration:
    return Configuration(
        name=name,
        preprocess=record.preprocess,
        engine=runner.infer,
        search=search,
        threshold=threshold,
        bytes_per_image=bytes_per_image,
        facts={
            "target": record.target,
            "precision": record.precision,
            "engine": runner.device,
            "index": index,
            "projection": projection,
            "network": record.model_digest[:12],
        },
    )
