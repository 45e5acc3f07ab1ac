"""Size of a city: districts, places, images of each place, and the drive."""

from dataclasses import asdict, dataclass
from typing import Annotated

from edgevpr.errors import UsageError
from edgevpr.option import Option

#: Districts whose images make the training set: one GSV-Cities city each.
TRAIN_CITIES = ("Aldermoor", "Brackwater", "Corvendale", "Dunhollow", "Eastmere", "Farrowgate")


@dataclass(frozen=True)
class CitySize:
    """Amounts of everything in a city; fields without an ``Option`` are for programs.

    Attributes:
        train_views: images of each training place.
        database_views, query_views, tuning_views: images of each validation and test place.
        width, height: of every image, pixels.
        quality: of the JPEG files.

    Raises:
        UsageError: a size below 1, or more training districts than there are names.
    """

    train_cities: Annotated[
        int, Option("Training districts, 1 to 6.", min=1, max=len(TRAIN_CITIES))
    ] = 3
    train_places: Annotated[int, Option("Places in each training district.", min=1)] = 150
    train_views: int = 8
    val_places: Annotated[int, Option("Validation places.", min=1)] = 80
    test_places: Annotated[int, Option("Test places.", min=1)] = 250
    database_views: int = 4
    query_views: int = 2
    tuning_views: int = 1
    drive_frames: Annotated[int, Option("Frames of the drive, 10 a second.", min=1)] = 300
    width: int = 160
    height: int = 120
    quality: int = 90

    def __post_init__(self) -> None:
        if not 1 <= self.train_cities <= len(TRAIN_CITIES):
            raise UsageError(
                f"found `train_cities` {self.train_cities}, expected 1 to {len(TRAIN_CITIES)}: "
                "pass `train_cities` 3"
            )
        for name, value in asdict(self).items():
            if value < 1:
                raise UsageError(f"found `{name}` {value}, expected 1 or more: change `{name}`")
