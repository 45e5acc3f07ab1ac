"""Sources by address.

``folder/``, ``'folder/*.jpg'``, ``image.png``, ``video.mp4``, ``file:///path/to/any/of/these``,
``bag.mcap``, ``rosbag2-folder/?topic=/camera/image``, ``0``, ``v4l2:///dev/video0``,
``rtsp://host/stream``, ``csi://0``, ``gst:PIPELINE``.
"""

import glob
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgevpr.errors import DataError
from edgevpr.runtime.sources.bags import find as find_bag
from edgevpr.runtime.sources.cameras import PREFIXES, CameraOptions, open_camera
from edgevpr.runtime.sources.frames import ImageFiles, Source, VideoFile

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def open_source(uri: str, camera: CameraOptions | None = None) -> Source:
    """The source for an address; use it in a ``with`` block. ``camera`` is for live ones.

    Raises:
        DataError: nothing there, no images in the folder, not a video, no such camera.
        TargetError: an address that needs software this machine lacks.
        UsageError: options that do not fit the address.
    """
    if uri.isdigit() or uri.startswith(PREFIXES):
        return open_camera(uri, camera)
    if uri.startswith("file://"):
        uri = unquote(urlsplit(uri).path)
    elif "://" in uri:
        raise DataError(
            f"found the address {uri}, expected a path, a camera number, file://, "
            f"{', '.join(PREFIXES)}: correct it"
        )
    if (bag := find_bag(uri)) is not None:
        return bag
    path = Path(uri)
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        return ImageFiles([path]) if _is_image(path) else VideoFile(path)
    if any(mark in uri for mark in "*?["):
        return _pattern(uri)
    raise DataError(
        f"found nothing at {uri}, expected a folder of images, an image, a video or a camera: "
        "check the path"
    )


def _folder(path: Path) -> ImageFiles:
    images = sorted(p for p in path.rglob("*") if _is_image(p) and p.is_file())
    if not images:
        raise DataError(
            f"found no image in {path} or below it, expected files ending in "
            f"{', '.join(IMAGE_SUFFIXES)}: check the folder"
        )
    return ImageFiles(images)


def _pattern(pattern: str) -> ImageFiles:
    found = sorted(Path(p) for p in glob.glob(pattern, recursive=True))  # noqa: PTH207
    images = [p for p in found if _is_image(p) and p.is_file()]
    if not images:
        raise DataError(
            f"found {len(found)} files and no image that match {pattern}, expected some ending in "
            f"{', '.join(IMAGE_SUFFIXES)}: check it, and quote it so that the shell leaves it"
        )
    return ImageFiles(images)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
