"""Sources by address.

``folder/``, ``'folder/*.jpg'``, ``image.png``, ``video.mp4``, ``file:///path/to/any/of/these``,
``bag.mcap``, ``rosbag2-folder/?topic=/camera/image``, ``0``, ``/dev/video0``,
``v4l2:///dev/video0``, ``rtsp://host/stream``, ``csi://0``, ``gst:PIPELINE``.

What exists under the name is opened before it is read as an address: a folder ``20240131`` is no
camera. Of a single file the content decides, not the ending.
"""

import errno
import glob
import os
from pathlib import Path
from urllib.parse import unquote

from edgevpr.data.image_files import (
    EXTENSIONS,
    is_image,
    is_of_system,
    is_unread,
    list_images,
    unread_image,
)
from edgevpr.data.left_out import LeftOut
from edgevpr.errors import DataError, UsageError
from edgevpr.printable import counted
from edgevpr.redact import redact_address
from edgevpr.runtime.sources.bags import find as find_bag
from edgevpr.runtime.sources.cameras import PREFIXES, CameraOptions, is_camera, open_camera
from edgevpr.runtime.sources.content import content_of
from edgevpr.runtime.sources.frames import ImageFiles, Source, VideoFile


def open_source(uri: str, camera: CameraOptions | None = None) -> Source:
    """The source for an address; use it in a ``with`` block. ``camera`` is for live ones.

    Raises:
        DataError: nothing there, no images in the folder, not a video, no such camera.
        TargetError: an address that needs software this machine lacks.
        UsageError: options that do not fit the address.
    """
    if not uri:
        raise UsageError(
            "found `source` empty, expected a folder of images, an image, a video or a camera: "
            "name one, . for the folder you are in"
        )
    if not _exists(uri):
        uri = os.path.expanduser(uri)  # noqa: PTH111 - unknown users stay; quoted for a pattern
        if is_camera(uri):
            return open_camera(uri, camera)
        if uri.lower().startswith("file://"):
            uri = _path_of(uri)
        elif "://" in uri:
            raise DataError(
                f"found the address {redact_address(uri)}, expected a path, a camera number, "
                f"file://, {', '.join(PREFIXES)}: correct it"
            )
    if (bag := find_bag(uri)) is not None:
        return bag
    path = Path(uri)
    if not _exists(uri):
        if any(mark in uri for mark in "*?["):
            return _pattern(uri)
        raise DataError(
            f"found nothing at {redact_address(uri)}, expected a folder of images, an image, a "
            "video or a camera: check the path"
        )
    if path.is_dir():
        return _folder(path)
    if path.is_char_device():
        return open_camera(f"v4l2://{path}", camera)
    if path.is_file():
        return _file(path)
    raise DataError(
        f"found {uri}, which is a pipe, a socket or a disk, expected a folder of images, an image, "
        "a video or a camera: check the path"
    )


def _path_of(uri: str) -> str:
    host, slash, path = uri[len("file://") :].partition("/")
    if host.lower() not in ("", "localhost") or not path:
        raise DataError(
            f"found the address {uri}, expected file:// and an absolute path: pass file:///PATH"
        )
    return unquote(slash + path, errors="surrogateescape")


def _exists(uri: str) -> bool:
    """Whether a file, folder or device has this name; a name that no file can have has none.

    Raises:
        DataError: it cannot be looked at.
    """
    try:
        Path(uri).stat()
    except ValueError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return False
        raise DataError(
            f"found {redact_address(uri)} unreadable ({error.strerror}), expected a source of "
            "frames: check it"
        ) from error
    return True


def _file(path: Path) -> Source:
    """The reader for a single file's content."""
    try:
        content = content_of(path)
    except OSError as error:
        raise DataError(
            f"found {path} unreadable ({error.strerror}), expected an image or a video: check it"
        ) from error
    # A damaged picture gets a frame that says what is wrong.
    if content == "image" or (path.suffix.lower() in EXTENSIONS and content != "video"):
        return ImageFiles([path])
    if content == "text":
        raise DataError(
            f"found {path}, which is a text and which OpenCV cannot open as a video, expected an "
            "image or a video (mp4, mkv, avi): check the path"
        )
    return VideoFile(path)


def _folder(path: Path) -> ImageFiles:
    """The images that ``embed`` finds there, too."""
    left_out: list[LeftOut] = []
    images = [path / name for name in list_images(path, left_out)]
    return ImageFiles(images, left_out, where=str(path))


def _pattern(pattern: str) -> ImageFiles:
    """The images that match; folders that systems make only where they are named."""
    named = Path(pattern).parts
    found = []
    for each in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207
        path = Path(each)
        if path.is_file() and not any(is_of_system(p) and p not in named for p in path.parts):
            found.append(path)
    images = [path for path in found if is_image(path)]
    unread = [unread_image(str(path)) for path in found if is_unread(path)]
    if not images:
        others = f" ({unread[0]})" if unread else ""
        raise DataError(
            f"found {counted(len(found), 'file')} and no image{others} for {pattern}, expected "
            f"some ending in {', '.join(sorted(EXTENSIONS))}: check it, and quote it so that the "
            "shell leaves it"
        )
    return ImageFiles(images, unread, where=pattern)
