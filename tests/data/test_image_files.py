"""Image files of a folder, and their order."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgevpr.data.image_files import image_kind, list_images, why_unreadable
from edgevpr.data.left_out import LeftOut
from edgevpr.errors import DataError

Touch = Callable[..., Path]


def test_recursive_sorted_and_any_case(touch: Touch) -> None:
    root = touch("b/2.JPG", "b/1.jpeg", "a.PNG", "c.webp", ".hidden.jpg", ".cache/x.jpg", "._a.jpg")
    (root / "readme.txt").write_text("x")
    (root / "jpg").write_text("x")
    assert list_images(root) == ["a.PNG", "b/1.jpeg", "b/2.JPG", "c.webp"]


def test_content_comes_before_the_extension(touch: Touch) -> None:
    """Browsers save .jfif, cameras .insp, data sets nothing; backups are no images."""
    root = touch("a.jfif", "b.insp", "c", "d.jpg_original", "e.THM", "f.jpg.part", "g.jpg~")
    assert list_images(root) == ["a.jfif", "b.insp", "c"]
    assert image_kind(root / "c") == ".jpg"


def test_folders_of_systems_are_passed_over(touch: Touch) -> None:
    """Synology's thumbnails, a Mac's and Windows' leftovers."""
    root = touch(
        "a.jpg", "@eaDir/a.jpg/T.jpg", "__MACOSX/a.jpg", "$RECYCLE.BIN/b.jpg", "lost+found/c"
    )
    left_out: list[LeftOut] = []
    assert list_images(root, left_out) == ["a.jpg"]
    assert not left_out


def test_pictures_of_other_types_are_named(touch: Touch) -> None:
    """Catches a phone's photos that are lost without a word."""
    root = touch("a.jpg", "x/b.HEIC", "c.avif", "d.DNG")
    left_out: list[LeftOut] = []
    assert list_images(root, left_out) == ["a.jpg"]
    assert [item.path for item in left_out] == ["c.avif", "d.DNG", "x/b.HEIC"]
    with pytest.raises(DataError, match=r"no image in .*but 1 \.heic\).*convert them to JPEG"):
        list_images(root / "x")


def test_a_folder_that_cannot_be_opened(touch: Touch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is named, or an error; root may open all, so the error is made."""
    root = touch("a.jpg", "shut/b.jpg")
    scan = os.scandir

    def refusing(path: str) -> Any:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    left_out: list[LeftOut] = []
    assert list_images(root, left_out) == ["a.jpg"]
    assert str(left_out[0]) == "shut: a folder that cannot be opened (Permission denied)"
    with pytest.raises(DataError, match=r"1 folder that cannot be opened.*shut"):
        list_images(root)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "an empty file"), (b"text", "not an image"), (b"\xff\xd8\xff", "not a complete image")],
)
def test_why_an_image_does_not_decode(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert why_unreadable(tmp_path / "a.jpg") == reason
    assert why_unreadable(tmp_path / "b.jpg") == "no such file"


def test_links_are_followed_once(touch: Touch, tmp_path: Path) -> None:
    """Links in a circle end."""
    root = touch("a.jpg")
    far = tmp_path / "far"
    far.mkdir()
    (root / "a.jpg").rename(far / "z.jpg")
    (root / "linked").symlink_to(far)
    (far / "back").symlink_to(root)
    assert list_images(root) == ["linked/z.jpg"]


def test_a_hidden_folder_on_the_way_does_not_hide_its_images(touch: Touch, tmp_path: Path) -> None:
    """Such as ~/.cache/dataset."""
    touch("a.jpg").rename(tmp_path / ".data")
    assert list_images(tmp_path / ".data") == ["a.jpg"]


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no image in .*expected some with .*\.jpg.*check"):
        list_images(tmp_path)
    with pytest.raises(DataError, match="found nothing at"):
        list_images(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="found a file at"):
        list_images(tmp_path / "file")
