"""Rows of the demo's early exits, and its drive under a deadline."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgevpr.artifacts.records import ProfileRecord
from edgevpr.demo.score_drive import drive_score, read_answers
from edgevpr.places.table import ImageTable
from edgevpr.profiles.configuration import EXIT


class ExitRow(msgspec.Struct, frozen=True):
    """One way through the query network; times in ms on this machine, the rest in percent."""

    exit: str
    #: multiply-adds, of the full path's.
    cost: str
    engine_ms_p50: float
    end_to_end_ms_p50: float
    end_to_end_ms_p95: float
    r1: float | None
    r5: float | None
    #: queries answered as known; None where the exit has no confidence model.
    known: float | None


class DeadlineRun(msgspec.Struct, frozen=True):
    """The drive with ``edgevpr run --exit deadline:MS``."""

    deadline_ms: float
    #: frames answered by each exit.
    exits: dict[str, int]
    #: frames answered after the deadline.
    late: int
    #: percent of the frames whose view the map holds that were answered within 25 m.
    seen: float


def exit_rows(record: ProfileRecord) -> list[ExitRow]:
    """A row for each exit of a measured bundle, earliest first and "full" last."""
    return [
        ExitRow(
            exit=row.facts[EXIT],
            cost=row.facts["cost"],
            engine_ms_p50=row.engine_ms_p50,
            end_to_end_ms_p50=row.end_to_end_ms_p50,
            end_to_end_ms_p95=row.end_to_end_ms_p95,
            r1=row.r1,
            r5=row.r5,
            known=row.coverage,
        )
        for row in record.rows
    ]


def deadline_between(rows: Sequence[ExitRow]) -> float:
    """Deadline in ms, to hundredths: half way from the first exit's p95 to the full path's."""
    return round((rows[0].end_to_end_ms_p95 + rows[-1].end_to_end_ms_p95) / 2, 2)


def deadline_run(
    answers: Path, truth: Path, gallery: ImageTable, deadline_ms: float
) -> DeadlineRun:
    """Exits, late frames and right answers of a drive run with a deadline.

    Args:
        answers: JSON lines of ``edgevpr run``.
        truth: CSV with frame, easting, northing, heading and place.
        gallery: the map's images.
        deadline_ms: what the run was given.
    """
    answered = read_answers(answers).values()
    counts = Counter(answer["exit"] for answer in answered)
    return DeadlineRun(
        deadline_ms=deadline_ms,
        exits=dict(sorted(counts.items())),
        late=sum(bool(answer.get("late")) for answer in answered),
        seen=drive_score(answers, truth, gallery).seen,
    )
