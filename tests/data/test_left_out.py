"""What was left out, in one line."""

import pytest

from edgevpr.data.left_out import LeftOut, printable, refuse, summary
from edgevpr.errors import DataError


def test_every_reason_comes_first_once() -> None:
    """A hundred photos without position do not hide the one that is damaged."""
    items = [LeftOut(f"{i}.jpg", "no position") for i in range(100)]
    items.append(LeftOut("z.jpg", "an empty file"))
    assert summary(items) == (
        "101 left out (0.jpg: no position; z.jpg: an empty file; 1.jpg: no position; and 98 more)"
    )


def test_refusal() -> None:
    refuse([], "photos")
    with pytest.raises(DataError, match=r"1 left out \(a: b\), expected none.*`strict`"):
        refuse([LeftOut("a", "b")], "photos")


def test_names_of_any_bytes_can_be_printed() -> None:
    assert printable(b"caf\xe9.jpg".decode("utf-8", "surrogateescape")) == "caf\\xe9.jpg"
