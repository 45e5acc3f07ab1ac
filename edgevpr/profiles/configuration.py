"""Configurations (engine and search), and their latency and recall on real frames."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.records import ProfileRow, Provenance
from edgevpr.preprocess import Preprocess, read_image
from edgevpr.profiles.labelled_frames import Frames, timed_subset
from edgevpr.profiles.stage_times import DECODE, END_TO_END, Stage, measure_stages, summarize
from edgevpr.progress import Track, silent
from edgevpr.retrieval.confidence import Figures, figures
from edgevpr.retrieval.recall import hits, recall_at

#: Ranked gallery rows that R@5 needs of every search.
TOP_K = 5
#: Name of the fact that says which exit of a bundle answers.
EXIT = "exit"
_OF_KNOWN = ("r_at_100p", "coverage", "precision_known")


class Searched(NamedTuple):
    """Rows of a search with the confidence of the first."""

    rows: NDArray[np.integer]
    confidence: float


@dataclass(frozen=True)
class Configuration:
    """Anything that answers a frame: a compiled bundle with a gallery, or any pair of callables.

    Both callables return when their work is done; one that runs on a GPU synchronizes.
    """

    name: str
    preprocess: Preprocess
    #: (1, H, W, 3) uint8 RGB -> (1, D) float32 descriptor.
    engine: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    #: (1, D) descriptor -> at least ``TOP_K`` gallery rows, best first, -1 for nothing.
    search: Callable[[NDArray[np.float32]], NDArray[np.integer] | Searched]
    #: confidence from which on an answer is known; None where the search gives none.
    threshold: float | None = None
    #: bytes of index in memory for each gallery image.
    bytes_per_image: float | None = None
    #: for the report: target, precision, index and the like.
    facts: dict[str, str] = field(default_factory=dict)

    def stages(self, frames: Frames) -> list[Stage]:
        """The chain from a frame to ranked gallery rows."""
        first: list[Stage] = (
            [(DECODE, read_image)] if frames.frames and isinstance(frames.frames[0], Path) else []
        )
        return [
            *first,
            ("preprocess", lambda image: self.preprocess.resize(image)[None]),
            ("engine", self.engine),
            ("search", self.search),
        ]


def measure_configuration(
    configuration: Configuration,
    frames: Frames,
    *,
    answers: Sequence[NDArray[np.integer]] | None = None,
    database: int = 0,
    count: int = 300,
    warmup: int = 20,
    provenance: Provenance = "measured",
    track: Track = silent,
) -> ProfileRow:
    """Time ``count`` frames spread over all of them; with ``answers``, run the rest for recall.

    Args:
        answers: for each frame, the gallery rows that are right (``Frames.answers``).
        database: number of gallery images, with ``answers``.
        count: frames that are timed; 0 for all.

    Raises:
        DataError: there is no frame, or one cannot be read.
    """
    stages = configuration.stages(frames)
    chosen = timed_subset(len(frames.frames), count)
    ranked: list[Any] = []
    samples = measure_stages(
        stages,
        [frames.frames[i] for i in chosen],
        warmup=warmup,
        track=track,
        description=f"timing {configuration.name}",
        collect=ranked,
    )
    r1 = r5 = trust = None
    if answers is not None and any(len(rows) for rows in answers):
        predictions = np.full((len(frames.frames), TOP_K), -1, np.int64)
        predictions[chosen] = [_top(rows) for rows in ranked]
        sure = np.zeros(len(predictions))
        sure[chosen] = [_confidence(rows) for rows in ranked]
        rest = sorted(set(range(len(frames.frames))) - set(chosen))
        for i in track(rest, f"answering {configuration.name}", len(rest)):
            value: Any = frames.frames[i]
            for _, stage in stages:
                value = stage(value)
            predictions[i] = _top(value)
            sure[i] = _confidence(value)
        recall = recall_at(predictions, answers, database=database, ks=(1, 5))
        r1, r5 = recall.at.get(1), recall.at.get(5)
        if configuration.threshold is not None:
            right = hits(predictions[:, :1], answers)[:, 0]
            mapped = np.array([len(rows) > 0 for rows in answers])
            trust = figures(sure, sure >= configuration.threshold, right, mapped)
    return make_row(
        configuration.name,
        samples,
        r1=r1,
        r5=r5,
        bytes_per_image=configuration.bytes_per_image,
        provenance=provenance,
        facts=configuration.facts,
        trust=trust,
    )


def make_row(
    configuration: str,
    samples_ms: dict[str, list[float]],
    *,
    r1: float | None = None,
    r5: float | None = None,
    bytes_per_image: float | None = None,
    provenance: Provenance = "measured",
    facts: dict[str, str] | None = None,
    trust: Figures | None = None,
) -> ProfileRow:
    """A row from the samples of ``measure_stages``, which names engine, search and end_to_end."""
    engine, search, total = (
        summarize(samples_ms[stage]) for stage in ("engine", "search", END_TO_END)
    )
    return ProfileRow(
        configuration=configuration,
        r1=r1,
        r5=r5,
        engine_ms_p50=engine.p50,
        engine_ms_p95=engine.p95,
        search_ms_p50=search.p50,
        end_to_end_ms_p50=total.p50,
        end_to_end_ms_p95=total.p95,
        bytes_per_image=bytes_per_image,
        provenance=provenance,
        samples_ms=samples_ms,
        facts=facts or {},
        r_at_100p=trust.r_at_100p if trust else None,
        coverage=trust.coverage if trust else None,
        precision_known=trust.precision_known if trust else None,
    )


def at_exit(name: str, exit: str) -> str:
    """Name of a configuration at one exit of its bundle; "": of a bundle without exits."""
    return f"{name}-{exit}" if exit else name


def closing_row(row: ProfileRow) -> dict[str, Any]:
    """The numbers of the closing table, and those of ``known`` where there are any; no samples."""
    return {
        name: value
        for name in ProfileRow.__struct_fields__
        if name not in ("samples_ms", "facts")
        and not ((value := getattr(row, name)) is None and name in _OF_KNOWN)
    }


def _confidence(value: NDArray[np.integer] | Searched) -> float:
    return value.confidence if isinstance(value, Searched) else 0.0


def _top(value: NDArray[np.integer] | Searched) -> NDArray[np.int64]:
    """The first ``TOP_K`` of a ranking of any shape, filled up with -1."""
    rows = value.rows if isinstance(value, Searched) else value
    flat = np.asarray(rows, np.int64).reshape(-1)[:TOP_K]
    return np.pad(flat, (0, TOP_K - len(flat)), constant_values=-1)
