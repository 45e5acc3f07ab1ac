"""Frames: the same bits everywhere, and the geometry of a pinhole camera."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from edgevpr.city.layout.conditions import Conditions
from edgevpr.city.layout.pose import FOCAL, Pose
from edgevpr.city.layout.views import choose_places, visit
from edgevpr.city.render.render import render
from edgevpr.city.surfaces import district as city
from edgevpr.city.surfaces.district import District

PINNED = "c89aa2fd43d629e9b197e3d09adce683d27760915fb906a42944c5ee985b3ce0"

#: Twelve places, in daylight and in every kind of weather.
SCRIPT = """
import hashlib
from edgevpr.city.surfaces.district import District
from edgevpr.city.render.render import render
from edgevpr.city.layout.views import choose_places, visit

across, up, places = choose_places(0, "pinned", 12)
district = District(0, "pinned", across, up)
digest = hashlib.sha256()
for place in places:
    for kind in ("database", "queries", "train"):
        digest.update(render(district, *visit(0, "pinned", place, kind, 0)).tobytes())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def district() -> District:
    across, up, _ = choose_places(0, "pinned", 12)
    return District(0, "pinned", across, up)


def _digest(**environment: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**os.environ, **environment}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return ran.stdout.strip()


def test_pixels_are_pinned() -> None:
    """The drawing is the same in any process, on any CPU.

    The hash was the same with numpy 1.26, 2.0 and 2.4, Python 3.10 to 3.12, with and without AVX.
    """
    assert _digest(PYTHONHASHSEED="1") == PINNED


def test_pixels_do_not_depend_on_the_cpu() -> None:
    """Neither the width of SIMD nor fused multiply-add changes a pixel."""
    off = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX2 FMA3 X86_V3 X86_V4"
    assert _digest(NPY_DISABLE_CPU_FEATURES=off, PYTHONWARNINGS="ignore") == PINNED


def test_frames_do_not_depend_on_what_was_drawn_before(district: District) -> None:
    _, _, places = choose_places(0, "pinned", 12)
    shots = [visit(0, "pinned", place, "queries", 0) for place in places[:5]]
    forward = [render(district, *shot) for shot in shots]
    again = District(0, "pinned", *choose_places(0, "pinned", 12)[:2])
    backward = [render(again, *shot) for shot in reversed(shots)][::-1]
    for one, two in zip(forward, backward, strict=True):
        assert np.array_equal(one, two)


def test_a_turn_moves_the_picture_by_the_focal_length(district: District) -> None:
    """Turning right moves the scene to the left."""
    street = district.plan.streets[0][1]
    still = Conditions(noise=0.0, traffic=0.0, people=0.0, parked=0.0, cloud=1.0)
    pose = Pose(street.at, 70.0, 5.0, pitch=0.0)
    angle = 4.0
    turned = replace(pose, heading=5.0 + angle)
    one = render(district, pose, still).astype(np.float64).mean(axis=2)
    two = render(district, turned, still).astype(np.float64).mean(axis=2)
    shift = round(FOCAL * 160 * np.tan(np.radians(angle)))
    middle = slice(60, 100)
    errors = {
        s: np.abs(two[30:90, middle] - one[30:90, 60 + s : 100 + s]).mean() for s in range(-12, 13)
    }
    assert abs(min(errors, key=lambda s: errors[s]) - shift) <= 1


def test_night_is_darker_and_still_shows_structure(district: District) -> None:
    street = district.plan.streets[0][1]
    pose = Pose(street.at, 70.0, 25.0)
    quiet = {"noise": 0.0, "traffic": 0.0, "people": 0.0, "parked": 0.0}
    day = render(district, pose, Conditions(**quiet))  # type: ignore[arg-type]
    night = render(district, pose, Conditions(hour="night", **quiet))  # type: ignore[arg-type]
    assert night.mean() < 0.75 * day.mean()
    # Below the roofs, the darkest tenth and the brightest tenth are far apart.
    lower = night[50:].mean(axis=2)
    assert np.percentile(lower, 90) - np.percentile(lower, 10) > 30


def test_size_is_free(district: District) -> None:
    pose = Pose(district.plan.streets[1][1].at + 30, district.plan.streets[1][1].at, 90.0, roll=3.0)
    assert render(district, pose, Conditions(), 96, 64).shape == (64, 96, 3)
    image = render(district, pose, Conditions(snow=1.0, season="winter"), 320, 240)
    assert image.shape == (240, 320, 3)
    assert image.std() > 20


def test_forgotten_textures_are_painted_alike(
    district: District, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of textures are valid again after the memory was emptied."""
    _, _, places = choose_places(0, "pinned", 12)
    shots = [visit(0, "pinned", place, "database", 0) for place in places[:4]]
    kept = [render(district, *shot) for shot in shots]
    monkeypatch.setattr(city, "KEPT_TEXELS", 0)
    for one, shot in zip(kept, shots, strict=True):
        assert np.array_equal(one, render(district, *shot))
