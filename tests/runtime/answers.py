"""Answers for the tests of sinks."""

from edgevpr.runtime.answers import Answer, FrameError, Match, StageTimes

LAT, LON = 48.1173, 11.516667
TIMES = StageTimes(1, 2, 3, 4, 10)
UNREADABLE = FrameError(7, "cam", None, "it is not an image")


def answer(
    score: float | None = 0.9,
    *,
    time: float | None = 1_700_000_000.25,
    frame: int = 0,
    lat: float | None = LAT,
    lon: float | None = LON,
    others: tuple[tuple[float, float, float], ...] = (),
    confidence: float | None = None,
    known: bool | None = True,
    age_ms: float = 0.0,
    image: str = "a/7.jpg",
) -> Answer:
    """An answer with place 7 first and ``others`` as (lat, lon, score) after it."""
    top = [] if score is None else [Match(7, lat, lon, score, image)]
    top += [Match(i, *each, "b.jpg") for i, each in enumerate(others)]
    place = (7, lat, lon, score)
    return Answer(frame, "cam", time, age_ms, *place, top, TIMES, confidence, known)
