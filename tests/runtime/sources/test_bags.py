"""Bags as a source: storages, encodings, topics, and files that a power cut left."""

import re
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from edgevpr.errors import DataError, MissingExtraError
from edgevpr.runtime import Frame, open_source
from edgevpr.runtime.sources.bags import Bag
from edgevpr.runtime.sources.frames import Source

from ..bagfiles import COMPRESSED, IMAGE, START, TYPES, header, jpeg, mcap, raw, rosbag2

BGR = (40, 120, 200)


def picture(i: int) -> np.ndarray:
    return np.full((12, 16, 3), (10 * i, 100, 200), np.uint8)


def drive(count: int = 5, topic: str = "/camera/image") -> list[tuple[str, Any, float]]:
    """Images taken 0.05 s before they were recorded, ten a second."""
    return [(topic, raw(picture(i), "bgr8", START + i / 10), i / 10 + 0.05) for i in range(count)]


def other() -> tuple[str, Any, float]:
    text = TYPES.types["std_msgs/msg/String"](data="hello")
    return "/chatter", text, 0.0


def read(uri: str | Path) -> tuple[list[Frame], Source]:
    with open_source(str(uri)) as source:
        return list(source.frames(threading.Event())), source


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("whole_folder", [True, False])
def test_both_storages_of_rosbag2(
    tmp_path: Path, storage: StoragePlugin, whole_folder: bool
) -> None:
    """Every frame in order, in BGR, with the camera's time."""
    folder = rosbag2(tmp_path / "bag", [other(), *drive()], storage)
    bag = folder if whole_folder else next(p for p in folder.iterdir() if p.suffix != ".yaml")
    frames, source = read(bag)
    assert [f.id for f in frames] == [0, 1, 2, 3, 4]
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, picture(i))
        assert frame.time == pytest.approx(START + i / 10, abs=1e-6)
        assert frame.source == str(bag)
    assert (source.live, source.drops, source.remark) == (False, 0, "")


@pytest.mark.parametrize(
    ("storage", "compression"),
    [
        (StoragePlugin.MCAP, CompressionMode.STORAGE),
        (StoragePlugin.SQLITE3, CompressionMode.FILE),
        (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
    ],
)
def test_compressed_bags(
    tmp_path: Path, storage: StoragePlugin, compression: CompressionMode
) -> None:
    """Every compression that rosbag2 writes."""
    frames, _ = read(rosbag2(tmp_path / "bag", drive(), storage, compression))
    assert [f.image[0, 0, 0] for f in frames if f.image is not None] == [0, 10, 20, 30, 40]


def test_split_bag(tmp_path: Path) -> None:
    """All files of a recording, in order."""
    messages = drive()
    folder = rosbag2(tmp_path / "bag_0", messages[:3])
    later = rosbag2(tmp_path / "bag_1", messages[3:])
    (later / "bag_1.mcap").rename(folder / "bag_1.mcap")
    metadata = folder / "metadata.yaml"
    text = metadata.read_text().replace("  - bag_0.mcap\n", "  - bag_0.mcap\n  - bag_1.mcap\n", 1)
    metadata.write_text(text.replace("message_count: 3", "message_count: 5"))
    frames, source = read(folder)
    assert [f.image[0, 0, 0] for f in frames if f.image is not None] == [0, 10, 20, 30, 40]
    assert source.remark == ""


def test_file_of_another_writer(tmp_path: Path) -> None:
    frames, source = read(mcap(tmp_path / "a.mcap", [other(), *drive()]))
    assert [f.image[0, 0, 0] for f in frames if f.image is not None] == [0, 10, 20, 30, 40]
    assert source.remark == ""


def test_time_without_a_stamp(tmp_path: Path) -> None:
    """The time of recording stands in for an empty header."""
    bag = mcap(tmp_path / "a.mcap", [("/i", raw(picture(0), "bgr8", 0), 1.5)])
    frames, _ = read(bag)
    assert frames[0].time == pytest.approx(START + 1.5, abs=1e-6)


def mosaic(pattern: str) -> np.ndarray:
    """(8, 8) colour filter pattern, named by its first 2 x 2 pixels, of one flat colour."""
    value = dict(zip("bgr", BGR, strict=True))
    return np.tile(np.array([value[c] for c in pattern]).reshape(2, 2), (4, 4)).astype(np.uint8)


def flat(*channels: int, dtype: type = np.uint8) -> np.ndarray:
    return np.full((8, 8, len(channels)), channels, dtype)


B, G, R = BGR
WIDE = 257  # 8 bits spread over 16
Y, U, V = 132, 81, 169  # BT.601 of BGR, limited range as cameras send it


@pytest.mark.parametrize(
    ("encoding", "data", "tolerance"),
    [
        ("bgr8", flat(B, G, R), 0),
        ("rgb8", flat(R, G, B), 0),
        ("8UC3", flat(B, G, R), 0),
        ("bgra8", flat(B, G, R, 9), 0),
        ("rgba8", flat(R, G, B, 9), 0),
        ("bgr16", flat(B * WIDE, G * WIDE, R * WIDE, dtype=np.uint16), 0),
        ("rgb16", flat(R * WIDE, G * WIDE, B * WIDE, dtype=np.uint16), 0),
        ("bayer_rggb8", mosaic("rggb"), 0),
        ("bayer_bggr8", mosaic("bggr"), 0),
        ("bayer_gbrg8", mosaic("gbrg"), 0),
        ("bayer_grbg8", mosaic("grbg"), 0),
        ("uyvy", np.tile(np.array([[U, Y], [V, Y]], np.uint8), (8, 4, 1)), 3),
        ("yuv422", np.tile(np.array([[U, Y], [V, Y]], np.uint8), (8, 4, 1)), 3),
        ("yuv422_yuy2", np.tile(np.array([[Y, U], [Y, V]], np.uint8), (8, 4, 1)), 3),
        ("yuyv", np.tile(np.array([[Y, U], [Y, V]], np.uint8), (8, 4, 1)), 3),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, data: np.ndarray, tolerance: int) -> None:
    """Colours, Bayer patterns and row padding; tolerance where limited-range YUV rounds."""
    step = data[0].nbytes + 10
    big = data.astype(data.dtype.newbyteorder(">"))
    messages = [raw(data, encoding), raw(data, encoding, step=step), raw(big, encoding, big=1)]
    bag = mcap(tmp_path / "a.mcap", [("/i", m, i) for i, m in enumerate(messages)])
    frames, _ = read(bag)
    assert len(frames) == 3
    for frame in frames:
        assert frame.image is not None, frame.error
        assert frame.image.dtype == np.uint8
        # The border of a mosaic is extrapolated.
        difference = np.abs(frame.image[2:-2, 2:-2].astype(int) - BGR).max()
        assert difference <= tolerance


@pytest.mark.parametrize("encoding", ["mono8", "8UC1", "mono16"])
def test_grey_cameras(tmp_path: Path, encoding: str) -> None:
    """Three channels, of 16 bits the upper 8."""
    wide = encoding == "mono16"
    data = np.full((4, 6), 77 * 256 + 3 if wide else 77, np.uint16 if wide else np.uint8)
    frames, _ = read(mcap(tmp_path / "a.mcap", [("/i", raw(data, encoding), 0)]))
    assert frames[0].image is not None
    np.testing.assert_array_equal(frames[0].image, np.full((4, 6, 3), 77))


def test_compressed_and_damaged_messages(tmp_path: Path) -> None:
    """A damaged message is a frame with an error, and the run goes on."""
    image = cv2.resize(
        np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8), (64, 48)
    )
    cut = jpeg(image)
    cut.data = cut.data[:20]
    bag = mcap(
        tmp_path / "a.mcap",
        [("/i", jpeg(image, suffix=".png"), 0), ("/i", cut, 1), ("/i", jpeg(image), 2)],
    )
    frames, _ = read(bag)
    np.testing.assert_array_equal(frames[0].image, image)
    assert frames[1].image is None
    assert "message 1 of /i" in frames[1].error
    assert "do not decode" in frames[1].error
    assert frames[2].image is not None
    short = raw(picture(0), "bgr8")
    short.data = short.data[:30]
    depth = raw(np.zeros((2, 2), np.float32), "32FC1")
    frames, _ = read(mcap(tmp_path / "b.mcap", [("/i", short, 0), ("/i", depth, 1)]))
    assert "30 bytes in rows of 48" in frames[0].error
    assert "'32FC1'" in frames[1].error


def test_several_topics_need_a_name(tmp_path: Path) -> None:
    """One topic is read; where several have images, the error lists them."""
    both = [m for pair in zip(drive(4, "/left"), drive(4, "/right"), strict=True) for m in pair]
    bag = mcap(tmp_path / "a.mcap", [other(), *both])
    with pytest.raises(DataError, match=r"images on 2 topics.*/right \(4\).*topic=/left"):
        open_source(str(bag))
    with pytest.raises(DataError, match=r"no images on /nose.*/left \(4\), /right \(4\)"):
        open_source(f"{bag}?topic=/nose")
    frames, _ = read(f"{bag}?topic=/right")
    assert len(frames) == 4
    with pytest.raises(DataError, match=r"no topic of images.*/chatter \(std_msgs/msg/String\)"):
        open_source(str(mcap(tmp_path / "b.mcap", [other()])))
    assert {IMAGE, COMPRESSED} == {"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"}


@pytest.mark.parametrize("cut_bytes", [0, 40])
@pytest.mark.parametrize("in_folder", [True, False])
def test_recorder_that_lost_power(tmp_path: Path, cut_bytes: int, in_folder: bool) -> None:
    """Read as far as it goes: without metadata, and torn within a message."""
    path = mcap(tmp_path / "a.mcap", drive(), end=False)
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.truncate(size - cut_bytes)
    frames, source = read(tmp_path if in_folder else path)
    assert len(frames) == (4 if cut_bytes else 5)
    np.testing.assert_array_equal(frames[3].image, picture(3))
    assert "as far as it goes, for it has no index" in source.remark


def test_without_a_profile(tmp_path: Path) -> None:
    path = mcap(tmp_path / "a.mcap", drive(), profile="")
    frames, source = read(path)
    assert len(frames) == 5
    assert "Profile is not ros2" in source.remark


def test_damage_in_the_middle(tmp_path: Path) -> None:
    """Frames before the damage are given, and the remark says where it ended."""
    path = mcap(tmp_path / "a.mcap", drive(5))
    data = bytearray(path.read_bytes())
    third = [i for i in range(len(data)) if data.startswith(b"\x28\xb5\x2f\xfd", i)][2]
    data[third : third + 20] = b"\xff" * 20
    path.write_bytes(bytes(data))
    frames, source = read(path)
    assert 0 < len(frames) < 5
    assert f"ended after {len(frames)} of the 5 images" in source.remark


def test_a_bag_of_nothing_but_its_first_bytes(tmp_path: Path) -> None:
    """In words, not in those of a parser that ran out of bytes."""
    (tmp_path / "UP.MCAP").write_bytes(b"\x89MCAP0\r\n")
    with pytest.raises(DataError, match=r"UP\.MCAP, which cannot be read as a bag") as caught:
        open_source(str(tmp_path / "UP.MCAP"))
    assert not re.search(r"ord\(\)|index out of|NoneType|expected a character", str(caught.value))


@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "folder"])
def test_what_is_no_bag_is_one_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        (path / "metadata.yaml").write_text("a: [")
    else:
        path.write_bytes(b"not a bag" * 9)
    with pytest.raises(DataError, match="cannot be read as a bag"):
        open_source(str(path))
    for missing in (tmp_path / "none.mcap", f"{tmp_path}/none?topic=/i"):
        with pytest.raises(DataError, match="found no bag at"):
            open_source(str(missing))


def test_stop_and_close(tmp_path: Path) -> None:
    """A stop reads no further, reports no damage, and closes the file."""
    stop = threading.Event()
    source = open_source(str(mcap(tmp_path / "a.mcap", drive())))
    with source:
        frames = source.frames(stop)
        next(frames)
        stop.set()
        assert list(frames) == []
    assert source.remark == ""


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rosbags.rosbag2", None)
    with pytest.raises(MissingExtraError, match=r"edgevpr\[bags\]"):
        Bag(mcap(tmp_path / "a.mcap", drive()))
    assert header(1.5).stamp.nanosec == 500_000_000


def one_image(path: Path) -> Path:
    return mcap(path, [("/front", raw(np.zeros((4, 6, 3), np.uint8), "bgr8"), 0.0)])


@pytest.mark.parametrize("name", ["UP.MCAP", "drive.bin", "drive", "drive.mp4", "drive.db3"])
def test_a_bag_under_any_name(tmp_path: Path, name: str) -> None:
    """Its content tells what it is."""
    one_image(tmp_path / "a.mcap").rename(tmp_path / name)
    with open_source(str(tmp_path / name)) as source:
        assert isinstance(source, Bag)
        assert len(list(source.frames(threading.Event()))) == 1


@pytest.mark.parametrize("others", [[], ["notes.txt"]])
def test_bags_without_metadata(tmp_path: Path, others: list[str]) -> None:
    """Several say nothing of their order; one is read."""
    folder = tmp_path / "two bags"
    folder.mkdir()
    one_image(folder / "r_0.mcap")
    for name in others:
        (folder / name).write_text("Monday")
    with open_source(str(folder)) as source:
        assert isinstance(source, Bag)
    one_image(folder / "r_1.mcap")
    with pytest.raises(DataError, match=r"run ros2 bag reindex '.*two bags'"):
        open_source(str(folder))
    cv2.imwrite(str(folder / "a.png"), np.zeros((4, 6, 3), np.uint8))
    with open_source(str(folder)) as source:
        assert len(list(source.frames(threading.Event()))) == 1


@pytest.mark.parametrize("name", ["a.mcap.zstd", "a.db3.zst", "a.mcap"])
def test_packed_bags(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x28\xb5\x2f\xfd\x04")
    with pytest.raises(DataError, match="run unzstd"):
        open_source(str(tmp_path / name))
    with pytest.raises(DataError, match="no bag at"):
        open_source(str(tmp_path / "missing.MCAP"))
