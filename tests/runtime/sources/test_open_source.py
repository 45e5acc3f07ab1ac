"""Sources: files in order, every frame; live ones, newest wins."""

import itertools
import os
import threading
import zlib
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from edgevpr.data.image_files import list_images
from edgevpr.data.left_out import LeftOut, summary
from edgevpr.errors import DataError, EdgeVPRError, UsageError
from edgevpr.runtime import Backend, CameraOptions, Frame, open_source
from edgevpr.runtime.sources.live import LiveSource

from ..build import FakeCamera


def images(folder: Path, names: list[str]) -> Path:
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((12, 16, 3), (i, 100, 200), np.uint8))
    return folder


def all_frames(uri: str) -> list[Frame]:
    with open_source(uri) as source:
        return list(source.frames(threading.Event()))


def video(path: Path, count: int = 20, codec: str = "mp4v") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, (64, 48))
    assert writer.isOpened()
    for i in range(count):
        noise = np.random.default_rng(i).integers(0, 40, (48, 64, 3))
        writer.write((noise + 10 * i).astype(np.uint8))
    writer.release()
    return path


def test_folder_glob_file_uri_and_single_image(tmp_path: Path) -> None:
    """Sorted, images only, in BGR."""
    images(tmp_path, ["b.png", "a.png", "sub/c.PNG", ".hidden.png"])
    (tmp_path / "notes.txt").write_text("no image")
    frames = all_frames(str(tmp_path))
    assert [Path(f.source).name for f in frames] == ["a.png", "b.png", "c.PNG"]
    assert [f.id for f in frames] == [0, 1, 2]
    assert frames[0].image is not None
    assert frames[0].image[0, 0].tolist() == [1, 100, 200]  # as written: BGR
    assert frames[0].time is None
    assert [f.source for f in all_frames(str(tmp_path / "?.png"))] == [f.source for f in frames[:2]]
    assert len(all_frames(f"file://{tmp_path}")) == 3
    assert len(all_frames(str(tmp_path / "a.png"))) == 1


def test_odd_names_are_paths_first(tmp_path: Path) -> None:
    """@utm names and brackets in a folder's name are no address and no pattern."""
    folder = images(tmp_path / "walk [1]", ["@0549000@6250000@33@U@@@.png"])
    assert len(all_frames(str(folder))) == 1


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("{}/missing", "found nothing"),
        ("{}/empty", "no image in"),
        ("{}/*.png", "found 0 files and no image"),
        ("{}/text.mp4", "OpenCV cannot open"),
        ("{}/zeros.mp4", "OpenCV cannot open"),
        ("http://host/x", "found the address"),
        ("file://{}/missing.mp4", "found nothing"),
        ("FILE://localhost{}/missing.mp4", "found nothing"),
        ("file://host{}/missing.mp4", "pass file:///PATH"),
        ("file://", "pass file:///PATH"),
        ("v4l2:///dev/video987", "the camera v4l2:///dev/video987 "),
        ("987", "the camera 987 "),
        ("csi://front", "pass csi://0"),
    ],
)
def test_nothing_there_is_one_sentence(tmp_path: Path, uri: str, says: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "zeros.mp4").write_bytes(bytes(100))
    with pytest.raises(DataError, match=says):
        open_source(uri.format(tmp_path))


def test_corrupt_image_is_a_frame_with_an_error(tmp_path: Path) -> None:
    """A cut JPEG too, which decoders fill up with grey."""
    images(tmp_path, ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.png"])
    whole = (tmp_path / "e.jpg").read_bytes()
    (tmp_path / "e.jpg").write_bytes(whole[:-20])
    # a PNG header that promises 2**30 x 2**30 pixels
    size = (2**30).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    header = b"IHDR" + size + zlib.crc32(b"IHDR" + size).to_bytes(4, "big")
    (tmp_path / "f.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d" + header)
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8" + bytes(200))
    (tmp_path / "c.jpg").write_bytes(b"")
    frames = all_frames(str(tmp_path))
    assert [f.image is None for f in frames] == [False, True, True, False, True, True]
    assert "b.jpg (202 bytes)" in frames[1].error
    assert "c.jpg (0 bytes)" in frames[2].error


def test_video_gives_every_frame_with_its_time(tmp_path: Path) -> None:
    frames = all_frames(str(video(tmp_path / "a.mp4")))
    assert [f.id for f in frames] == list(range(20))
    assert [f.time for f in frames] == pytest.approx([i / 10 for i in range(20)])
    means = [float(f.image.mean()) for f in frames if f.image is not None]
    assert all(b > a for a, b in itertools.pairwise(means))


def test_truncated_video_ends_with_a_remark(tmp_path: Path) -> None:
    """The remark says after how many frames it ended."""
    whole = video(tmp_path / "a.avi", codec="MJPG").read_bytes()
    half = tmp_path / "half.avi"
    half.write_bytes(whole[: len(whole) // 2])
    with open_source(str(half)) as source:
        count = len(list(source.frames(threading.Event())))
        assert 0 < count < 18
        assert f"after {count} of the 20 frames" in source.remark
    # An mp4 has its index at the end: without it there is nothing to read.
    whole = video(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"half\.mp4"):
        open_source(str(tmp_path / "half.mp4"))


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG")])
def test_video_damaged_in_the_middle(tmp_path: Path, name: str, codec: str) -> None:
    """The run ends, and the loss is remarked on."""
    path = video(tmp_path / name, 40, codec)
    data = bytearray(path.read_bytes())
    middle = slice(len(data) // 3, len(data) // 2)
    data[middle] = bytes(len(data[middle]))
    path.write_bytes(data)
    with open_source(str(path)) as source:
        frames = list(source.frames(threading.Event()))
    assert [f.id for f in frames] == list(range(len(frames)))
    assert len(frames) > 10
    assert len(frames) >= 38 or source.remark


def test_stop_ends_a_source(tmp_path: Path) -> None:
    stop = threading.Event()
    with open_source(str(video(tmp_path / "a.mp4"))) as source:
        frames = source.frames(stop)
        next(frames)
        stop.set()
        assert list(frames) == []


def test_live_newest_frame_wins(camera: FakeCamera) -> None:
    """Frames that were not fetched count as drops."""
    stop = threading.Event()
    with LiveSource(camera, "cam") as source:
        frames = source.frames(stop)
        camera.give(1)
        assert next(frames).id == 0
        camera.give(5)  # the reader is busy meanwhile
        newest = next(frames)
        assert newest.id == 5
        assert newest.image is not None
        assert newest.image[0, 0, 0] == 5
        assert source.drops == 4
        assert newest.time is not None
        assert newest.time > 1.6e9  # Unix time
        camera.give(1)
        assert next(frames).id == 6
        assert source.drops == 4
        camera.unplug()
        assert list(frames) == []
        assert "cam" in source.remark
    assert camera.released.wait(5)


def test_live_stop_while_waiting(camera: FakeCamera) -> None:
    stop = threading.Event()
    with LiveSource(camera, "cam") as source:
        stop.set()
        assert list(source.frames(stop)) == []
        camera.unplug()


def test_what_exists_is_no_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder named by a date, and names that look like addresses."""
    for name in ("20240131", "0", "gst:drive", "rtsp:"):
        images(tmp_path / name, ["a.png"])
    monkeypatch.chdir(tmp_path)
    for name in ("20240131", "0", "gst:drive", "rtsp:"):
        assert len(all_frames(name)) == 1


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/dev/video987", "/dev/video987"),
        ("V4L2:///dev/video987", "V4L2:///dev/video987"),
        ("/dev/v4l/by-id/usb-none", "/dev/v4l/by-id/usb-none"),
    ],
)
def test_devices_are_cameras(uri: str, name: str) -> None:
    with pytest.raises(DataError, match=f"the camera {name} "):
        open_source(uri)


def test_a_device_under_another_name_is_a_camera(tmp_path: Path) -> None:
    (tmp_path / "front").symlink_to("/dev/null")
    with pytest.raises(DataError, match="the camera v4l2://"):
        open_source(str(tmp_path / "front"))


def test_no_source_is_a_usage_error() -> None:
    """Not every picture of the folder one is in."""
    with pytest.raises(UsageError, match="`source` empty"):
        open_source("")


@pytest.mark.parametrize("uri", ["x" * 300, "a/" * 3000, "a\0b", "file:///a\0b"])
def test_names_that_no_file_has(uri: str) -> None:
    with pytest.raises(DataError, match="found nothing"):
        open_source(uri)


@pytest.mark.parametrize("name", ["notes.txt", "notes.mp4", "notes", "notes.NFO"])
def test_a_text_is_no_video(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("Drive of Monday\ncamera front\n" * 50)
    with pytest.raises(DataError, match="is a text"):
        open_source(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.jfif", "a", "a.mp4", "a.txt"])
def test_a_picture_under_any_name(tmp_path: Path, name: str) -> None:
    data = cv2.imencode(".png", np.full((12, 16, 3), (1, 100, 200), np.uint8))[1]
    (tmp_path / name).write_bytes(data.tobytes())
    (frame,) = all_frames(str(tmp_path / name))
    assert frame.time is None
    assert frame.image is not None


def test_a_video_named_as_a_picture(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4").rename(tmp_path / "a.jpg")
    assert len(all_frames(str(tmp_path / "a.jpg"))) == 20


def test_a_damaged_picture_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"garbage")
    (frame,) = all_frames(str(tmp_path / "a.jpg"))
    assert frame.image is None


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DataError, match="a pipe"):
        open_source(str(tmp_path / "fifo"))


@pytest.mark.parametrize("name", ["2024-01-01T12:00:00.mp4", "./http:clip.mp4", "clip?.mp4"])
def test_colons_in_a_video_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """FFmpeg takes what stands before a colon for a protocol."""
    video(tmp_path / "clip.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert {f.source for f in all_frames(name)} == {str(Path(name))}


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    """Frames name such a file with escapes; its pixels are read."""
    images(tmp_path, ["b.png"])
    (tmp_path / "b.png").rename(tmp_path / os.fsdecode(b"caf\xe9.png"))
    (tmp_path / os.fsdecode(b"br\xe9.png")).write_bytes(b"garbage")
    broken, whole = all_frames(str(tmp_path))
    assert whole.image is not None
    assert whole.source.endswith(r"/caf\xe9.png")
    assert r"/br\xe9.png" in broken.error
    msgspec.json.encode([broken.source, broken.error, whole.source])


ADDRESSES = [
    "http://admin:s3cret@127.0.0.1:9/v.mjpg",
    "RTSP://admin:s3cret@127.0.0.1:9/x",
    "rtsp://127.0.0.1:9/user=admin&password=s3cret&channel=1",
    "rtsp://127.0.0.1:9/x?password=s3cret",
    "gst:rtspsrc location=rtsp://admin:s3cret@127.0.0.1:9/x ! decodebin",
    "gst:rtspsrc user-id=a user-pw=s3cret location=rtsp://127.0.0.1:9/x ! decodebin",
    "v4l2:///dev/video987?password=s3cret",
    "admin:s3cret@127.0.0.1/x",
]


@pytest.mark.parametrize("uri", ADDRESSES)
@pytest.mark.parametrize("backend", ["opencv", "auto"])
def test_passwords_are_not_told(uri: str, backend: Backend) -> None:
    with pytest.raises(EdgeVPRError) as caught:
        open_source(uri, CameraOptions(backend))
    assert "s3cret" not in str(caught.value)
    assert "***" in str(caught.value)


def test_a_folder_is_walked_as_embed_walks_it(tmp_path: Path) -> None:
    """Linked folders, no thumbnails, any name; what is not read is counted and named."""
    images(tmp_path / "store", ["a.jpg"])
    folder = images(tmp_path / "p", ["b.jpg", ".thumbnails/t.jpg", "@eaDir/b.jpg/T.jpg", "x/c.png"])
    (folder / "x" / "c.png").rename(folder / "x" / "c")
    (folder / "day1").symlink_to(tmp_path / "store")
    (folder / "d.HEIC").write_bytes(b"heic")
    with open_source(str(folder)) as source:
        frames = list(source.frames(threading.Event()))
    left_out: list[LeftOut] = []
    names = [str(Path(frame.source).relative_to(folder)) for frame in frames]
    assert names == list_images(folder, left_out) == ["b.jpg", "day1/a.jpg", "x/c"]
    assert all(frame.image is not None for frame in frames)
    assert source.remark == f"{folder}: {summary(left_out)}"
    assert "1 left out (d.HEIC: HEIC is not read" in source.remark


def test_a_pattern_matches_pictures_of_any_name(tmp_path: Path) -> None:
    """Thumbnails of a storage only where they are named."""
    images(tmp_path, ["b.jpg", "@eaDir/b.jpg", "c.png", ".x/y.jpg"])
    (tmp_path / "c.png").rename(tmp_path / "c.insp")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "d.heic").write_bytes(b"heic")
    with open_source(f"{tmp_path}/**/*") as source:
        frames = list(source.frames(threading.Event()))
    assert [Path(frame.source).name for frame in frames] == ["b.jpg", "c.insp"]
    assert "1 left out" in source.remark
    assert len(all_frames(f"{tmp_path}/@eaDir/*")) == 1
    assert len(all_frames(f"{tmp_path}/.x/*")) == 1
    with pytest.raises(DataError, match=r"found 1 file and no image .*HEIC is not read"):
        open_source(f"{tmp_path}/*.heic")


def test_a_pattern_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quoted so that the shell leaves it, which then leaves ~ as well."""
    monkeypatch.setenv("HOME", str(tmp_path))
    images(tmp_path / "drive", ["a.png", "b.png"])
    assert len(all_frames("~/drive/*.png")) == len(all_frames("~/drive")) == 2
    with pytest.raises(DataError, match="found nothing at ~nobody-of-this-name/x"):
        open_source("~nobody-of-this-name/x")


def test_a_picture_of_a_type_that_is_not_read(tmp_path: Path) -> None:
    """Is to be converted, not replaced as if it were damaged."""
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (frame,) = all_frames(str(tmp_path / "a.heic"))
    assert frame.image is None
    assert "a type that is not read" in frame.error
    assert frame.error.endswith(": convert it")
