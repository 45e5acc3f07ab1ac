"""File names and CSV rows of a city's images."""

import hashlib
from dataclasses import dataclass

from edgevpr.city.exact_math import Dice
from edgevpr.city.layout.conditions import Conditions
from edgevpr.city.layout.pose import Pose
from edgevpr.city.layout.views import CityPlace
from edgevpr.city.surfaces.district import Anchor

GSV_COLUMNS = ("place_id", "year", "month", "northdeg", "city_id", "lat", "lon", "panoid")

_MONTHS = {"spring": (4, 5), "summer": (6, 8), "autumn": (10, 11), "winter": (1, 2)}
_HOURS = {"day": (10, 15), "dusk": (18, 19), "night": (21, 23)}


@dataclass(frozen=True)
class Shot:
    """Map position, bearing and date of an image."""

    easting: float
    northing: float
    lat: float
    lon: float
    bearing: float
    year: int
    month: int
    time: str  # ISO 8601


def shot(anchor: Anchor, pose: Pose, conditions: Conditions) -> Shot:
    """The record of an image of a district."""
    from edgevpr.places.table import to_latlon

    easting, northing = anchor.to_map(pose.x, pose.y)
    lat, lon = to_latlon([easting], [northing], [anchor.zone], [anchor.letter])
    dice = Dice(conditions.seed, "date")
    year, month = dice.whole(2015, 2023), dice.whole(*_MONTHS[conditions.season])
    day, hour = dice.whole(1, 28), dice.whole(*_HOURS[conditions.hour])
    minute = dice.whole(0, 59)
    return Shot(
        easting=easting,
        northing=northing,
        lat=round(float(lat[0]), 7),
        lon=round(float(lon[0]), 7),
        bearing=anchor.bearing(pose.heading),
        year=year,
        month=month,
        time=f"{year}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:00",
    )


def utm_name(anchor: Anchor, place: CityPlace, pose: Pose, conditions: Conditions) -> str:
    """An ``@utm`` file name; hour and season travel in its note."""
    from edgevpr.data.names import format_utm_name

    s = shot(anchor, pose, conditions)
    return format_utm_name(
        s.easting, s.northing, anchor.zone, anchor.letter, s.lat, s.lon,
        heading=s.bearing, time=s.time, place=place.number,
        note=f"{conditions.hour} {conditions.season}",
    )  # fmt: skip


def gsv_row(city: str, anchor: Anchor, place: CityPlace, index: int, pose: Pose,
            conditions: Conditions) -> tuple[str, tuple[str, ...]]:  # fmt: skip
    """File name and CSV row of an image in GSV-Cities' layout."""
    s = shot(anchor, pose, conditions)
    pano = hashlib.sha256(f"{city} {place.number} {index}".encode()).hexdigest()[:22]
    north = round(s.bearing) % 360
    name = (
        f"{city}_{place.number:07d}_{s.year:04d}_{s.month:02d}_{north:03d}_{s.lat!r}_{s.lon!r}_"
        f"{pano}.JPG"
    )
    return name, (
        str(place.number), str(s.year), str(s.month), str(north), city, repr(s.lat), repr(s.lon),
        pano,
    )  # fmt: skip
