"""Photos with EXIF tags, and GPX tracks, that tests write."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")


def write_photo(
    path: Path,
    lat: float | None = None,
    lon: float | None = None,
    refs: tuple[Any, Any] = ("N", "E"),
    time: str = "",
    gps: dict[int, Any] | None = None,
    exif: dict[int, Any] | None = None,
) -> Path:
    """A small photo; ``lat`` and ``lon`` as degrees, minutes and seconds of no sign."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    tags = image.getexif()
    if lat is not None and lon is not None:
        tags.get_ifd(0x8825).update({2: _parts(lat), 4: _parts(lon)})
        tags.get_ifd(0x8825).update({t: r for t, r in zip((1, 3), refs, strict=True) if r})
    tags.get_ifd(0x8825).update(gps or {})
    tags.get_ifd(0x8769).update({**({0x9003: time} if time else {}), **(exif or {})})
    image.save(path, exif=tags)
    return path


def write_gpx(path: Path, *tracks: Iterable[tuple[float, float, str]]) -> Path:
    """A GPX file with one ``trk`` for each list of (lat, lon, time)."""
    text = ""
    for points in tracks:
        rows = "".join(f'<trkpt lat="{a}" lon="{o}"><time>{t}</time></trkpt>' for a, o, t in points)
        text += f"<trk><trkseg>{rows}</trkseg></trk>"
    path.write_text(f'<gpx xmlns="http://www.topografix.com/GPX/1/1">{text}</gpx>')
    return path


def _parts(value: float) -> tuple[float, float, float]:
    hundredths = round(value * 360_000)
    return hundredths // 360_000, hundredths // 6000 % 60, hundredths % 6000 / 100
