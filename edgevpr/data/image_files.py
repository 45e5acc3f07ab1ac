"""List of the image files of a folder, in an order that does not depend on the disk."""

import os
from pathlib import Path

from edgevpr.errors import DataError

#: Compared in lower case: .JPG is an image too.
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

LAYOUTS = (
    "@utm_east@utm_north@... file names, GPS positions in EXIF, an images.csv, or the GSV-Cities "
    "layout (Images/ and Dataframes/)"
)


def list_images(root: Path) -> list[str]:
    """Images below ``root``, sorted, as POSIX paths relative to it.

    Links to folders are followed; hidden files and folders (``._x.jpg`` of a Mac) are not images.

    Raises:
        DataError: ``root`` is missing, is no folder, or holds no image.
    """
    root = Path(root)
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise DataError(f"found {found} at {root}, expected a folder of images: check the path")
    names: list[str] = []
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back up, or a second way to the same images
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(folder).relative_to(root)
        names += [(here / name).as_posix() for name in files if _is_image(name)]
    if not names:
        raise DataError(
            f"found no image in {root}, expected some with one of the extensions "
            f"{', '.join(sorted(EXTENSIONS))}: check the path"
        )
    return sorted(names)


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


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS
