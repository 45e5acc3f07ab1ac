"""Image files of a folder, and their order."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edgevpr.data.image_files import list_images
from edgevpr.errors import DataError

Touch = Callable[..., Path]


def test_recursive_sorted_and_any_case(touch: Touch) -> None:
    root = touch("b/2.JPG", "b/1.jpeg", "a.PNG", "c.webp", ".hidden.jpg", ".cache/x.jpg", "._a.jpg")
    (root / "readme.txt").write_text("x")
    (root / "jpg").write_text("x")
    assert list_images(root) == ["a.PNG", "b/1.jpeg", "b/2.JPG", "c.webp"]


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
