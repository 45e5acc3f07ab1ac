"""Reading images of every kind a folder may hold, resizing and normalizing them."""

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from edgevpr.errors import DataError
from edgevpr.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, read_image

RNG = np.random.default_rng(0)
#: Red on the left, blue on the right; smooth, so that JPEG keeps it.
SCENE = np.zeros((48, 64, 3), np.uint8)
SCENE[:, :32, 0] = 200
SCENE[:, 32:, 2] = 200


def encode(ext: str, image: np.ndarray, *flags: int) -> bytes:
    """``image`` in OpenCV's channel order, as the bytes of a file."""
    return bytes(cv2.imencode(ext, image, list(flags))[1])


def test_colours_are_rgb(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(".png", SCENE[..., ::-1]))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), SCENE)
    (tmp_path / "a.jpg").write_bytes(encode(".jpg", SCENE[..., ::-1]))
    # JPEG at quality 95; measured 3 grey levels away from the edge between the colours
    away = np.r_[0:24, 40:64]
    read = read_image(str(tmp_path / "a.jpg"))
    assert np.abs(read[:, away].astype(int) - SCENE[:, away]).max() <= 6


@pytest.mark.parametrize(
    ("name", "stored", "expected"),
    [
        ("grey", np.full((4, 6), 77, np.uint8), (77, 77, 77)),
        ("grey of 16 bits", np.full((4, 6), 77 * 256 + 5, np.uint16), (77, 77, 77)),
        ("colour of 16 bits", np.full((4, 6, 3), (3000, 20000, 60000), np.uint16), (234, 78, 11)),
        ("transparent", np.full((4, 6, 4), (10, 20, 30, 0), np.uint8), (30, 20, 10)),
    ],
)
def test_every_depth_becomes_rgb(
    tmp_path: Path, name: str, stored: np.ndarray, expected: tuple[int, int, int]
) -> None:
    """Depth maps, masks and screenshots have one, two or four channels."""
    (tmp_path / "a.png").write_bytes(encode(".png", stored))
    image = read_image(tmp_path / "a.png")
    assert (image.shape, image.dtype) == ((4, 6, 3), np.uint8), name
    np.testing.assert_array_equal(image, np.broadcast_to(np.array(expected, np.uint8), (4, 6, 3)))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    image = image_module.fromarray(SCENE)
    exif = image.getexif()
    exif[0x0112] = 6  # rotate a quarter turn clockwise to see it upright
    image.save(tmp_path / "a.jpg", quality=95, exif=exif)
    read = read_image(tmp_path / "a.jpg")
    assert read.shape == (64, 48, 3)
    assert read[:20, :, 0].mean() > 150, "red, stored on the left, is on top"


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_truncated_jpeg_is_refused(tmp_path: Path, progressive: int, keep: float) -> None:
    """OpenCV 4 fills the rest with grey without an error."""
    noise = RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encode(".jpg", noise, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    (tmp_path / "a.jpg").write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match=r"a\.jpg .*expected a complete"):
        read_image(tmp_path / "a.jpg")
    (tmp_path / "whole.jpg").write_bytes(data)
    assert read_image(tmp_path / "whole.jpg").shape == (64, 64, 3)


def test_a_jpeg_cut_and_filled_with_zeros_is_refused(tmp_path: Path) -> None:
    """A full disk or a power cut leaves a file of the right size."""
    data = encode(".jpg", RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2] + bytes(len(data) // 2))
    with pytest.raises(DataError, match="expected a complete"):
        read_image(tmp_path / "a.jpg")


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_image(tmp_path: Path) -> None:
    """The preview in the EXIF block has an end marker of its own."""
    thumbnail = encode(".jpg", SCENE[:8, :8])
    data = encode(".jpg", RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = data[:2] + segment + b"\xff" + data[2:]  # and a fill byte, which is allowed
    (tmp_path / "whole.jpg").write_bytes(whole)
    assert read_image(tmp_path / "whole.jpg").shape == (64, 64, 3)
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="expected a complete"):
        read_image(tmp_path / "cut.jpg")


def test_bytes_after_the_end_do_no_harm(tmp_path: Path) -> None:
    """Phone photos carry a video or padding there."""
    (tmp_path / "a.jpg").write_bytes(encode(".jpg", SCENE) + bytes(1000) + b"trailer")
    assert read_image(tmp_path / "a.jpg").shape == SCENE.shape


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a is not decoded",
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\x00\x00" * 9,
        b"\xff\xd8\xff\xda\xff\xd9",
        b"\x89PNG\r\n\x1a\n" + bytes(20),
        b"<html>404 Not Found</html>",
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(DataError, match=rf"\({len(data)} bytes\).*expected"):
        read_image(tmp_path / "a.jpg")


def test_a_damaged_png_is_refused(tmp_path: Path) -> None:
    """PNG files carry checksums."""
    data = bytearray(encode(".png", RNG.integers(0, 255, (32, 32, 3), dtype=np.uint8)))
    (tmp_path / "cut.png").write_bytes(data[:-200])
    data[len(data) // 2] ^= 1
    (tmp_path / "flipped.png").write_bytes(data)
    for name in ("cut.png", "flipped.png"):
        with pytest.raises(DataError, match="expected a complete"):
            read_image(tmp_path / name)


def test_a_missing_image_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found nothing at"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(DataError, match="found a folder at"):
        read_image(tmp_path)


def test_real_photos_are_whole(shared: Path) -> None:
    for path in sorted((shared / "data" / "lund").glob("*.jpg")):
        assert read_image(path).ndim == 3


@pytest.mark.parametrize("interpolation", ["area", "linear", "cubic"])
def test_resize(interpolation: str) -> None:
    spec = msgspec.convert(
        {"height": 24, "width": 40, "interpolation": interpolation}, type=Preprocess
    )
    small = spec.resize(SCENE)
    assert (small.shape, small.dtype) == ((24, 40, 3), np.uint8)
    assert small[:, :15, 0].min() > 190, "the red side stays on the left"
    assert spec.resize(small) is small or np.array_equal(spec.resize(small), small)


def test_area_resize_is_the_mean() -> None:
    """Subsampling would alias fine facades into noise."""
    noise = RNG.integers(0, 255, (32, 32, 3), dtype=np.uint8)
    small = Preprocess(height=8, width=8).resize(noise)
    expected = noise.reshape(8, 4, 8, 4, 3).mean((1, 3))
    # rounding to whole levels
    assert np.abs(small - expected).max() <= 0.51


def test_normalize_is_its_formula() -> None:
    images = RNG.integers(0, 255, (2, 5, 7, 3), dtype=np.uint8)
    result = Preprocess(height=5, width=7).normalize(images)
    assert (result.shape, result.dtype) == ((2, 3, 5, 7), np.float32)
    for c in range(3):
        expected = (images[..., c] / 255.0 - IMAGENET_MEAN[c]) / IMAGENET_STD[c]
        # float32; measured 5e-7
        np.testing.assert_allclose(result[:, c], expected, atol=5e-6)


@pytest.mark.parametrize(
    "record",
    [
        {"height": 0, "width": 8},
        {"height": 8, "width": -8},
        {"height": 8, "width": 8, "std": [1, 0, 1]},
        {"height": 8, "width": 8, "interpolation": "nearest"},
        {"height": 8, "width": 8, "colour": "bgr"},
    ],
)
def test_senseless_specs_are_refused_when_read(record: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(record, type=Preprocess)


@pytest.mark.parametrize(
    "stray", [b"\0\0\0", b"\x12", b"\xff\0", b"\xff\x01", b"\0\xff\xff", b"x" * 999]
)
@pytest.mark.parametrize("before", [b"\xff\xdb", b"\xff\xc0", b"\xff\xda"])
def test_bytes_between_the_segments_of_a_jpeg(tmp_path: Path, stray: bytes, before: bytes) -> None:
    """USB cameras write some; libjpeg steps over them, and the pixels are the same."""
    data = encode(".jpg", SCENE)
    at = data.index(before)
    (tmp_path / "a.jpg").write_bytes(data)
    strewn = data[:at] + stray + data[at:]
    (tmp_path / "b.jpg").write_bytes(strewn)
    np.testing.assert_array_equal(read_image(tmp_path / "b.jpg"), read_image(tmp_path / "a.jpg"))
    (tmp_path / "cut.jpg").write_bytes(strewn[:-20])
    with pytest.raises(DataError, match="expected a complete"):
        read_image(tmp_path / "cut.jpg")
