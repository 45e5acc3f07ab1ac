"""Size of a city: light to import, checked."""

import subprocess
import sys

import pytest

from edgevpr.city.size import CitySize
from edgevpr.errors import UsageError


def test_imports_without_numpy() -> None:
    """``edgevpr city --help`` reads the size, and draws nothing."""
    program = (
        "import sys\nfor name in ('numpy', 'cv2'): sys.modules[name] = None\n"
        "import edgevpr.city.size"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("field", ["train_places", "drive_frames", "width"])
def test_sizes_are_checked(field: str) -> None:
    with pytest.raises(UsageError, match=field):
        CitySize(**{field: 0})


def test_only_so_many_training_districts_have_names() -> None:
    with pytest.raises(UsageError, match="found `train_cities` 7, expected 1 to 6"):
        CitySize(train_cities=7)
