"""List of the image files of a folder, in an order that does not depend on the disk."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from edgevpr.data.left_out import LeftOut, printable
from edgevpr.errors import DataError
from edgevpr.image_header import MAX_PIXELS, START, image_format, image_size
from edgevpr.printable import counted

#: Compared in lower case: .JPG is an image too.
EXTENSIONS = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp", ".png", ".webp", ".bmp",
        ".tif", ".tiff",
    }
)  # fmt: skip
#: Pictures that OpenCV does not read everywhere, or not as the camera meant them.
UNREAD = frozenset(
    {
        ".heic", ".heif", ".hif", ".avif", ".avifs", ".gif", ".jxl", ".jp2", ".j2k", ".jpx", ".psd",
        ".exr", ".dng", ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".sr2", ".orf", ".rw2",
        ".raf", ".pef", ".srw", ".rwl", ".3fr", ".iiq", ".raw", ".gpr",
    }
)  # fmt: skip
#: Copies that programs keep beside images, and files that are still being written.
_COPIES = ("_original", "~", ".bak", ".thm", ".part", ".tmp", ".crdownload")
#: Folders that systems make, not people: thumbnails, waste, what a repair found.
_OF_SYSTEMS = frozenset(
    {
        "@eadir", "__macosx", "$recycle.bin", "lost+found", "system volume information", "#recycle",
        "@recycle",
    }
)  # fmt: skip

LAYOUTS = (
    "@utm_east@utm_north@... file names, GPS positions in EXIF, an images.csv, or the GSV-Cities "
    "layout (Images/ and Dataframes/)"
)


def list_images(root: Path, left_out: list[LeftOut] | None = None) -> list[str]:
    """Images below ``root``, sorted, as POSIX paths relative to it.

    Files with an image's extension, and those that are a JPEG, PNG or WebP by how they start,
    whatever their name. Links to folders are followed; hidden files and folders (``._x.jpg`` of a
    Mac) and those that systems make (``@eaDir``, ``$RECYCLE.BIN``) are not images.

    Args:
        left_out: gets the pictures of types that are not read (HEIC, AVIF, raw files) and the
            folders that may not be opened; None: the former are no images, the latter an error.

    Raises:
        DataError: ``root`` is missing, is no folder, or holds no image; or a folder below it may
            not be opened and ``left_out`` is None.
    """
    root = Path(root)
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise DataError(f"found {found} at {root}, expected a folder of images: check the path")
    names: list[str] = []
    unread: list[str] = []
    closed: list[OSError] = []
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, onerror=closed.append, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back up, or a second way to the same images
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _is_passed_over(name))
        here = Path(folder).relative_to(root)
        for name in files:
            if _is_passed_over(name):
                continue
            if is_unread(Path(name)):
                unread.append((here / name).as_posix())
            elif is_image(Path(folder, name)):
                names.append((here / name).as_posix())
    if closed and (left_out is None or not names):
        raise DataError(
            f"found {counted(len(closed), 'folder')} that cannot be opened, the first being "
            f"{printable(str(closed[0].filename))} ({closed[0].strerror}), expected to read all of "
            f"{root}: correct its permissions, or move it elsewhere"
        )
    if not names:
        kinds = Counter(Path(name).suffix.lower() for name in unread)
        others = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        raise DataError(
            f"found no image in {root}{f' (but {others})' if others else ''}, expected some with "
            f"one of the extensions {', '.join(sorted(EXTENSIONS))}: "
            + ("convert them to JPEG" if others else "check the path")
        )
    if left_out is not None:
        for error in closed:
            path = os.path.relpath(str(error.filename), root)
            left_out.append(LeftOut(path, f"a folder that cannot be opened ({error.strerror})"))
        left_out += [unread_image(name) for name in sorted(unread)]
    return sorted(names)


def is_image(file: Path) -> bool:
    """Whether a file is taken for an image that is read: by its extension, or by how it starts."""
    return file.suffix.lower() in EXTENSIONS or (not is_unread(file) and _starts_as_image(file))


def is_unread(file: Path) -> bool:
    """Whether a file is a picture of a type that is not read, by its extension."""
    return file.suffix.lower() in UNREAD


def unread_image(path: str) -> LeftOut:
    """The remark on a picture of a type that is not read."""
    kind = Path(path).suffix.lower().removeprefix(".").upper()
    return LeftOut(path, f"{kind} is not read: convert it to JPEG")


def is_of_system(name: str) -> bool:
    """Whether a folder of this name is one that systems make, not people."""
    return name.lower() in _OF_SYSTEMS


def image_kind(file: Path) -> str | None:
    """``.jpg``, ``.png``, ``.webp``, ``.bmp`` or ``.tif`` by what a file holds; None for others."""
    try:
        with file.open("rb") as stream:
            return image_format(stream.read(START))
    except OSError:
        return None


def missing_images(root: Path, paths: list[str], named_in: str) -> None:
    """Raise one error for all ``paths`` below ``root`` that are no files.

    Raises:
        DataError: some are missing; the message has their number, the total and the first.
    """
    missing = [path for path in paths if not (root / path).is_file()]
    if missing:
        raise lacking(missing, len(paths), root, named_in)


def lacking(missing: list[str], total: int, root: Path, named_in: str) -> DataError:
    """The sentence for images that a table names and the disk lacks."""
    return DataError(
        f"found {len(missing)} of the {total} images named in {named_in} missing below {root}, the "
        f"first being {missing[0]}, expected all: complete the data set, or remove their rows"
    )


def why_unreadable(file: Path) -> str:
    """Why an image file does not decode, in words."""
    try:
        with file.open("rb") as stream:
            start = stream.read(1 << 22)
    except FileNotFoundError:
        return "a link to nothing" if file.is_symlink() else "no such file"
    except OSError as error:
        return f"not readable ({error.strerror})"
    if not start:
        return "an empty file"
    size = image_size(start)
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        return f"{size[0]} x {size[1]} pixels, more than {MAX_PIXELS:,}"
    return "not a complete image" if image_format(start) else "not an image"


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or is_of_system(name)


def _starts_as_image(file: Path) -> bool:
    """Whether a file without an image's extension is one by its content.

    Not TIFF, which raw files and map tiles are too, nor BMP, whose mark is two letters.
    """
    if file.name.lower().endswith(_COPIES) or not file.is_file():
        return False
    return image_kind(file) in (".jpg", ".png", ".webp")


def unread(root: Path, paths: Iterable[str]) -> list[LeftOut]:
    """Images that cannot be read, each with the reason."""
    return [LeftOut(path, why_unreadable(root / path)) for path in paths]
