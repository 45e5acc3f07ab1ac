"""@utm names: the convention to the character, names from the wild, and names of our own."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevpr.data.names import FIELDS, UtmName, format_utm_name, iso_time, parse_utm_name
from edgevpr.errors import DataError


def test_the_convention_to_the_character() -> None:
    name = format_utm_name(
        548321.123, 4182734.456, 10, "S", 37.79058, -122.4512, heading=7.4,
        time="2019-01-31T12:30:05", note="night",
    )  # fmt: skip
    assert name == (
        "@0548321.12@4182734.46@10@S@037.79058@-122.45120@@@007@@@@20190131_123005@night@.jpg"
    )
    assert name.split("@")[1:3] == ["0548321.12", "4182734.46"], "what most loaders do"
    assert len(name.split("@")) == len(FIELDS) + 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (  # every field, as VPR-datasets-downloader writes it
            "@0584543.86@4476884.05@17@T@040.43658@-079.99921@000012@07@180@030@@@201311@pitts@.jpg",
            UtmName(
                584543.86, 4476884.05, 17, "T", 40.43658, -79.99921, "000012", "07", 180.0, "030",
                time="2013-11", note="pitts",
            ),
        ),
        ("@0@100.5@@@@@@@@@@@@@.jpg", UtmName(0.0, 100.5)),  # numbered frames
        ("@1.5@2.25@.png", UtmName(1.5, 2.25)),
        ("@1.5@2.25.JPG", UtmName(1.5, 2.25)),
        ("@1.5@2.25", UtmName(1.5, 2.25)),
        ("a/@b/@1@-2@33@u.jpeg", UtmName(1.0, -2.0, 33, "U")),
        ("@1@2@33@U@55.7@13.2@pano@3@@@@@noon@a note@more@.jpg",
         UtmName(1.0, 2.0, 33, "U", 55.7, 13.2, "pano", "3", note="a note")),
        ("@1@2@@@@@@@@@@@@place=17@.jpg", UtmName(1.0, 2.0, place=17)),
        ("@1@2@@@@@@@@@@@@place=17,wet@.jpg", UtmName(1.0, 2.0, place=17, note="wet")),
        ("@1@2@@@@@@@@@@@@place=x@.jpg", UtmName(1.0, 2.0, note="place=x")),
    ],
)  # fmt: skip
def test_names_in_the_wild(name: str, expected: UtmName) -> None:
    """Data sets leave fields out."""
    assert repr(parse_utm_name(name)) == repr(expected)  # nan equals nan here


times = st.sampled_from(
    [
        "",
        "2019",
        "2019-01",
        "2019-01-31",
        "2019-01-31T12",
        "2019-01-31T12:30",
        "2019-01-31T12:30:05",
    ]
)
notes = st.text(
    st.characters(blacklist_characters="@/", blacklist_categories=("C", "Z")), max_size=20
).filter(lambda note: not note.startswith("place="))


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.floats(-999_999, 999_999),
    st.floats(-9_999_999, 9_999_999),
    st.integers(0, 60),
    st.sampled_from(["", *"CDEFGHJKLMNPQRSTUVWX"]),
    st.floats(-90, 90) | st.just(math.nan),
    st.floats(-180, 180) | st.just(math.nan),
    st.floats(-720, 720) | st.none() | st.just(math.nan),
    times,
    notes,
    st.integers(-1, 10**18),
)
def test_every_name_we_write_reads_back(
    easting: float, northing: float, zone: int, letter: str, lat: float, lon: float,
    heading: float | None, time: str, note: str, place: int,
) -> None:  # fmt: skip
    """Positions to a centimetre."""
    name = format_utm_name(
        easting, northing, zone, letter, lat, lon, heading=heading, time=time, note=note,
        place=place,
    )  # fmt: skip
    read = parse_utm_name(name)
    assert math.hypot(read.easting - easting, read.northing - northing) <= 0.01
    assert (read.zone, read.letter, read.time, read.note) == (zone, letter, time, note)
    assert read.place == place
    for written, found in ((lat, read.lat), (lon, read.lon)):
        assert found == pytest.approx(written, abs=5.1e-6, nan_ok=True)
    if heading is None or math.isnan(heading):
        assert math.isnan(read.heading)
    else:
        assert abs((read.heading - heading + 180) % 360 - 180) <= 0.5001
        assert 0 <= read.heading < 360


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("@.jpg", "utm_east"),
        ("@1@.jpg", "utm_north"),
        ("@@2@.jpg", "utm_east"),
        ("@x@2@.jpg", "utm_east"),
        ("@nan@2@.jpg", "utm_east"),
        ("@1_0@2@.jpg", "utm_east"),
        ("@1@1e999@.jpg", "utm_north"),
        ("@1@2@61@.jpg", "zone"),
        ("@1@2@32.5@.jpg", "zone"),
        ("@1@2@33@O@.jpg", "letter"),
        ("@1@2@33@UU@.jpg", "letter"),
        ("@1@2@33@U@N55@13@.jpg", "lat"),
        ("@1@2@33@U@55@13,2@.jpg", "lon"),
        ("@1@2@33@U@55@13@@@north@.jpg", "heading"),
    ],
)
def test_a_malformed_name_says_file_and_field(name: str, field: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_utm_name(f"day 1/{name}")
    assert f" day 1/{name}, " in str(caught.value)
    assert f"the field {field} of the image name" in str(caught.value)


def test_another_name_is_no_utm_name() -> None:
    with pytest.raises(DataError, match=r"IMG_0001\.jpg, expected one that starts with @utm_east"):
        parse_utm_name("IMG_0001.jpg")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"easting": math.nan}, "utm_east"),
        ({"northing": math.inf}, "utm_north"),
        ({"zone": 61}, "zone"),
        ({"letter": "I"}, "letter"),
        ({"note": "a@b"}, "note"),
        ({"note": "a/b"}, "note"),
        ({"note": "a\nb"}, "note"),
        ({"note": "place=3"}, "note"),
        ({"place": "north gate"}, "place"),
        ({"place": -2}, "place"),
        ({"ext": "jpg"}, "ext"),
        ({"time": "yesterday"}, "timestamp"),
    ],
)
def test_what_a_name_cannot_hold_is_refused(change: dict[str, object], field: str) -> None:
    values: dict[str, object] = {
        "easting": 1.0, "northing": 2.0, "zone": 33, "letter": "U", "lat": 55.0, "lon": 13.0,
    }  # fmt: skip
    with pytest.raises(DataError, match=f"the field {field} of .*, expected"):
        format_utm_name(**{**values, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2019", "2019"),
        ("201901", "2019-01"),
        ("20190131_1230", "2019-01-31T12:30"),
        ("2019-01-31 12:30:05.25+02:00", "2019-01-31T12:30:05"),
        ("20190131T123005Z", "2019-01-31T12:30:05"),
        ("noon", ""),
        ("0000-00-00T00:00:00", ""),  # a clock that was never set
        ("2019-02-30", ""),
        ("2019-01-31T24:00:00", ""),
        ("2016-12-31T23:59:60", "2016-12-31T23:59:60"),
        ("20190131_123005_7", ""),
        ("", ""),
    ],
)
def test_times(text: str, iso: str) -> None:
    """Only as precise as written; other text is unknown."""
    assert iso_time(text) == iso
