"""Positions along tracks: each for itself, and none where a recorder jumped."""

from pathlib import Path

import pytest

from edgevpr.data.gpx_track import GpxTrack, along, read_gpx
from edgevpr.data.left_out import LeftOut
from edgevpr.data.readings import seconds_since_1970
from edgevpr.errors import DataError

from .photos import write_gpx

T = "2024-05-01T10:10:{:04.1f}Z".format


def _at(file: Path, second: float) -> tuple[float, float] | str:
    return along(read_gpx(file, []), seconds_since_1970(T(second)))


def test_a_point_at_0_0_is_no_point(tmp_path: Path) -> None:
    """Catches a photo in the Atlantic, half-way to the Gulf of Guinea."""
    points = [(52.5, 13.4, T(0)), (0, 0, T(2)), (52.5, 13.4, T(4))]
    file = write_gpx(tmp_path / "a.gpx", points)
    assert _at(file, 3) == pytest.approx((52.5, 13.4))
    left_out: list[LeftOut] = []
    read_gpx(file, left_out)
    assert "1 of 3 track points with latitude and longitude 0" in left_out[0].reason


def test_two_recorders_are_not_one_track(tmp_path: Path) -> None:
    """Interpolated together, a photo lies hundreds of km from every point of either."""
    berlin = [(52.5, 13.4, T(s)) for s in (0, 2, 4)]
    file = write_gpx(tmp_path / "a.gpx", berlin, [(48.1, 11.5, T(s)) for s in (10.5, 12.5)])
    assert _at(file, 3) == pytest.approx((52.5, 13.4))
    assert _at(file, 12) == pytest.approx((48.1, 11.5))
    both = write_gpx(tmp_path / "b.gpx", berlin, [(48.1, 11.5, T(s)) for s in (0.5, 2.5, 4.5)])
    assert "2 tracks have its time" in _at(both, 3)
    near = write_gpx(tmp_path / "c.gpx", berlin, [(52.5001, 13.4, T(s)) for s in (0.5, 2.5, 4.5)])
    assert _at(near, 3) == pytest.approx((52.5, 13.4))
    mixed = sorted(berlin + [(48.1, 11.5, T(s)) for s in (0.5, 2.5, 4.5)], key=lambda p: p[2])
    assert "no car" in _at(write_gpx(tmp_path / "d.gpx", mixed), 3)


def test_a_jump_of_the_receiver(tmp_path: Path) -> None:
    """No position on the way to it and back; the points beside it stay, at their own time."""
    points = [(52.5 + s * 1e-4, 13.4, T(s)) for s in range(0, 20, 2)]
    points[5] = (52.6, 13.4, T(10))
    file = write_gpx(tmp_path / "a.gpx", points)
    assert "no car" in _at(file, 9)
    assert "no car" in _at(file, 10)
    assert _at(file, 8) == pytest.approx((52.5008, 13.4))
    assert _at(file, 15) == pytest.approx((52.5015, 13.4))


def test_an_aircraft_is_not_a_jump() -> None:
    """The whole track is that fast."""
    track = GpxTrack.of([(float(s), 52.5 + s * 0.0025, 13.4) for s in range(10)])  # 280 m/s
    assert track.at(4.5) == pytest.approx((52.51125, 13.4))


def test_times_that_are_none_are_counted(tmp_path: Path) -> None:
    """Also without a zone, and spelled out."""
    points = [(52.4, 13.4, "0000-00-00T00:00:00Z"), (52.4, 13.4, "2024-05-01T10:09:60Z")]
    points += [
        (52.5, 13.4, "2024-05-01 10:10:00 UTC"),
        (52.5002, 13.4, "2024-05-01T12:10:02+02:00"),
    ]
    left_out: list[LeftOut] = []
    tracks = read_gpx(write_gpx(tmp_path / "a.gpx", points), left_out)
    assert along(tracks, seconds_since_1970(T(1))) == pytest.approx((52.5001, 13.4))
    assert [item.reason for item in left_out] == ["2 of 4 track points with no usable time"]
    with pytest.raises(DataError, match="found 0 track points with a time"):
        read_gpx(write_gpx(tmp_path / "b.gpx", points[:2]), [])


def test_segments_follow_each_other(tmp_path: Path) -> None:
    """A pause shorter than the gap is bridged, a longer one is not."""
    file = tmp_path / "a.gpx"
    rows = [
        "".join(f'<trkpt lat="52.5" lon="13.4"><time>{T(s)}</time></trkpt>' for s in seconds)
        for seconds in ((0, 2), (6, 8))
    ]
    file.write_text(f"<gpx><trk><trkseg>{rows[0]}</trkseg><trkseg>{rows[1]}</trkseg></trk></gpx>")
    assert _at(file, 4) == pytest.approx((52.5, 13.4))
    assert _at(file, 9) == "no track point near its time"
