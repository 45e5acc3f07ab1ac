"""Conditions of a visit: hour, season, weather, traffic and the state of the camera."""

from dataclasses import dataclass

from edgevpr.city.exact_math import Dice
from edgevpr.city.layout.style import Colour

#: Factors of a season on the colour of leaves, in 1/160.
LEAVES: dict[str, tuple[Colour, ...]] = {
    "spring": ((176, 178, 130), (188, 176, 150)),
    "summer": ((150, 156, 140), (140, 150, 130)),
    "autumn": ((330, 150, 60), (380, 190, 70), (300, 108, 60), (250, 160, 90)),
    "winter": ((190, 170, 150),),
}


@dataclass(frozen=True)
class Conditions:
    """Properties of an image that are not the place's."""

    hour: str = "day"  # day, dusk or night
    season: str = "summer"
    sun_azimuth: float = 200.0  # degrees clockwise from the district's y axis
    sun_slope: float = 0.9  # tangent of the sun's elevation
    cloud: float = 0.3  # 0 clear to 1 overcast
    snow: float = 0.0
    wet: float = 0.0
    haze_m: float = 400.0  # distance at which half of the contrast is left
    exposure: float = 1.0
    warmth: float = 0.0  # white balance, -1 cold to 1 warm
    noise: float = 2.0  # standard deviation of the sensor noise, grey levels
    defocus: float = 0.0  # radius of the blur, pixels
    motion: float = 0.0  # length of the smear, pixels
    traffic: float = 0.5  # vehicles under way
    people: float = 0.5
    parked: float = 0.5  # share of the parking places taken
    time_s: float = 0.0  # into a drive: traffic has moved on, noise is new
    seed: int = 0  # draws leaves' hue, lit windows, clouds, traffic, noise


def mild(dice: Dice) -> Conditions:
    """Conditions of a mapping drive: daylight, any green season, little traffic."""
    return Conditions(
        hour="day",
        season=dice.pick(("spring", "summer", "summer", "autumn")),
        sun_azimuth=dice.between(110, 250),
        sun_slope=dice.between(0.55, 1.4),
        cloud=dice.between(0.0, 0.8),
        haze_m=dice.between(350, 700),
        exposure=dice.between(0.9, 1.12),
        warmth=dice.between(-0.2, 0.2),
        noise=dice.between(1.0, 2.5),
        traffic=dice.between(0.0, 0.5),
        people=dice.between(0.0, 0.5),
        parked=dice.between(0.1, 0.6),
        seed=dice.whole(0, 1 << 30),
    )


def harsh(dice: Dice) -> Conditions:
    """Conditions of a query: any hour, season and weather, traffic, blur and noise."""
    hour = dice.pick(("day", "day", "dusk", "night", "night"))
    season = dice.pick(("spring", "summer", "autumn", "winter"))
    snow = dice.between(0.4, 1.0) if season == "winter" and dice.chance(0.6) else 0.0
    dark = {"day": 0.0, "dusk": 0.5, "night": 1.0}[hour]
    return Conditions(
        hour=hour,
        season=season,
        sun_azimuth=dice.between(80, 280),
        sun_slope=dice.between(0.3, 1.4) if hour == "day" else dice.between(0.08, 0.2),
        cloud=dice.random(),
        snow=snow,
        wet=dice.random() if snow == 0 and dice.chance(0.35) else 0.0,
        haze_m=dice.between(90, 500),
        exposure=dice.between(0.72, 1.35),
        warmth=dice.between(-0.6, 0.6),
        noise=dice.between(1.5, 4.0) + 4.0 * dark * dice.random(),
        defocus=dice.between(0.0, 1.0) if dice.chance(0.4) else 0.0,
        motion=dice.between(0.0, 4.0) if dice.chance(0.4) else 0.0,
        traffic=dice.between(0.2, 1.0),
        people=dice.between(0.1, 1.0),
        parked=dice.between(0.1, 0.9),
        seed=dice.whole(0, 1 << 30),
    )


def any_year(dice: Dice) -> Conditions:
    """Conditions of a training image: mild in one of three, harsh in two."""
    return mild(dice) if dice.chance(0.33) else harsh(dice)
