"""Source of recorded robot data: MCAP files and rosbag2 folders, without ROS.

The ``rosbags`` library reads both storages of rosbag2 and knows ROS's messages.
"""

import shlex
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevpr.data.image_files import EXTENSIONS
from edgevpr.errors import DataError
from edgevpr.optional import require
from edgevpr.printable import counted
from edgevpr.redact import redact_address
from edgevpr.runtime.sources import cut_mcap
from edgevpr.runtime.sources.content import content_of
from edgevpr.runtime.sources.frames import Frame
from edgevpr.runtime.sources.ros_images import DECODERS

SUFFIXES = (".mcap", ".db3")
#: Endings of what ``ros2 bag record --compression-mode file`` writes.
_PACKED = (".zstd", ".zst")


@dataclass(frozen=True)
class Topic:
    """A topic of a bag."""

    name: str
    #: ``sensor_msgs/msg/Image``
    type: str
    count: int


#: (nanoseconds when it was recorded, message in CDR) of a topic, in order.
Messages = Callable[[str], Iterator[tuple[int, bytes]]]


class Bag:
    """The images of one topic, every one, in the order they were recorded.

    Args:
        path: MCAP or SQLite file, or folder with ``metadata.yaml``.
        topic: needed where several topics have images.

    Raises:
        DataError: not a bag; no topic of images, or several and none named.
        MissingExtraError: without ``rosbags``.
    """

    live = False

    def __init__(self, path: Path, topic: str | None = None) -> None:
        self.path = path
        self.drops = 0
        self.remark = ""
        self._close: Callable[[], None] = lambda: None
        typesys = require("rosbags.typesys", extra="bags")
        # Camera messages have kept their definition in every release of ROS 2.
        self._types = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
        topics, self._messages = self._open()
        try:
            self.topic = _choose(path, topics, topic)
            self.total = self.topic.count
        except DataError:
            self._close()
            raise

    def __enter__(self) -> "Bag":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def frames(self, stop: threading.Event) -> Generator[Frame, None, None]:
        """Frames with the time of the message's header, Unix seconds, or of its recording where
        the header has none."""
        messages = self._messages(self.topic.name)
        count = 0
        while not stop.is_set():
            started = time.monotonic()
            try:
                recorded, data = next(messages)
            except StopIteration:
                break
            except MemoryError:
                raise
            except Exception as error:  # parsers and decompressors raise anything on damage
                self._ended(count, str(error))
                return
            image, at, wrong = None, recorded / 1e9, ""
            try:
                message = self._types.deserialize_cdr(data, self.topic.type)
                stamp = message.header.stamp
                at = stamp.sec + stamp.nanosec / 1e9 or at
                image = DECODERS[self.topic.type](message)
            except MemoryError:
                raise
            except Exception as error:  # one message, not the run
                wrong = f"message {count} of {self.topic.name} in {self.path}: {error}"
            now = time.monotonic()
            yield Frame(count, str(self.path), image, now, at, (now - started) * 1e3, wrong)
            count += 1
        if count < self.topic.count and not stop.is_set():
            self._ended(count, "there are no more")

    def _ended(self, count: int, why: str) -> None:
        self.remark = (
            f"{self.path} ended after {count} of the {counted(self.topic.count, 'image')} of "
            f"{self.topic.name} ({why}); it was cut off or is damaged from there on"
        )

    def _open(self) -> tuple[list[Topic], Messages]:
        reader_class: Any = require("rosbags.rosbag2", extra="bags").Reader
        if self.path.is_file():
            # The library goes by the ending; it is given the reader for the content.
            by_ending = reader_class.STORAGE_PLUGINS
            content = ".mcap" if _is_mcap(self.path) else ".db3"
            by_content = {self.path.suffix: by_ending[content]}
            reader_class = type("Reader", (reader_class,), {"STORAGE_PLUGINS": by_content})
        reader: Any = reader_class(self.path)
        try:
            reader.open()
        except MemoryError:
            raise
        except Exception as error:  # ReaderError, and what parsers raise on garbage
            topics = cut_mcap.topics(self.path) if _is_mcap(self.path) else []
            if isinstance(error, (TypeError, LookupError, AttributeError, AssertionError)):
                error = ValueError("damaged, or cut short")  # what parsers say on garbage
            if not topics:
                raise DataError(
                    f"found {self.path}, which cannot be read as a bag ({error}), expected an MCAP "
                    "file of ROS 2 or a rosbag2 folder: copy it again, or try 'ros2 bag reindex'"
                ) from error
            self.remark = (
                f"{self.path} was read in order and as far as it goes, for it has no index that "
                f"can be used ({str(error).rstrip('.')})"
            )
            return [Topic(*each) for each in topics], lambda name: cut_mcap.messages(
                self.path, name
            )
        self._close = reader.close

        def messages(name: str) -> Iterator[tuple[int, bytes]]:
            chosen = [each for each in reader.connections if each.topic == name]
            for _, recorded, data in reader.messages(chosen):
                yield recorded, data

        # Two publishers of one topic are two connections.
        counts: Counter[tuple[str, str]] = Counter()
        for each in reader.connections:
            counts[each.topic, each.msgtype] += each.msgcount
        return [Topic(*key, count) for key, count in counts.items()], messages


def _choose(path: Path, topics: list[Topic], name: str | None) -> Topic:
    images = [each for each in topics if each.type in DECODERS]
    found = [each for each in images if name in (None, each.name)]
    if len(found) == 1:
        return found[0]
    if not images:
        others = ", ".join(f"{each.name} ({each.type})" for each in topics) or "none"
        raise DataError(
            f"found no topic of images in {path} (topics: {others}), expected "
            f"{' or '.join(DECODERS)}: pass another bag"
        )
    listed = ", ".join(f"{each.name} ({each.count})" for each in images)
    what = f"no images on {name}" if name else f"images on {counted(len(images), 'topic')}"
    raise DataError(
        f"found {what} in {path} ({listed}), expected the name of one: pass "
        f"'{path}?topic={images[0].name}'"
    )


def _is_mcap(path: Path) -> bool:
    return path.is_file() and content_of(path) == "mcap"


def find(uri: str) -> Bag | None:
    """The bag at ``PATH[?topic=NAME]``, or None where there is something else.

    A file is a bag by its content, whatever its ending, or by its ending in any case of letters.

    Raises:
        DataError: a bag that cannot be used, or is not there.
    """
    name, topic = uri, None
    if "?topic=" in uri and not _exists(Path(uri)):
        name, _, topic = uri.partition("?topic=")
    path = Path(name)
    if _exists(path):
        bag = _folder(path, topic) if path.is_dir() else _file(path, topic)
        if bag is not None or topic is None:
            return bag
    elif topic is None and (not _named_as_bag(path) or any(mark in name for mark in "*?[")):
        return None
    raise DataError(
        f"found no bag at {redact_address(name)}, expected an MCAP file or a rosbag2 folder: check "
        "the path"
    )


def _folder(path: Path, topic: str | None) -> Bag | None:
    if (path / "metadata.yaml").is_file():
        return Bag(path, topic)
    names = sorted(each.name for each in path.iterdir())
    files = [path / name for name in names if _named_as_bag(Path(name))]
    # A recorder that lost power leaves its files, with SQLite's journals, and no metadata.
    if not files or any(
        (path / name).is_dir() or Path(name).suffix.lower() in EXTENSIONS for name in names
    ):
        return None  # a folder of images with a bag among them
    if len(files) == 1:
        return _file(files[0], topic)
    raise DataError(
        f"found {len(files)} bag files and no metadata.yaml in {path}, expected one file or the "
        f"metadata that puts them in order: run ros2 bag reindex {shlex.quote(str(path))}, or pass "
        "one of the files"
    )


def _file(path: Path, topic: str | None) -> Bag | None:
    if not path.is_file():
        return None
    content = content_of(path)
    if content == "zstd" and _named_as_bag(path):
        raise DataError(
            f"found the compressed bag {path}, expected it unpacked: run unzstd "
            f"{shlex.quote(str(path))}"
        )
    if content in ("mcap", "db3") or _named_as_bag(path):
        return Bag(path, topic)
    return None


def _named_as_bag(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in _PACKED:
        suffix = path.with_suffix("").suffix.lower()
    return suffix in SUFFIXES


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # no file can have such a name
        return False
