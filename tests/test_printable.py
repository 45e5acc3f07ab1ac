"""Names of files in texts: any bytes, and nothing that moves the cursor."""

import os
from pathlib import Path

from edgevpr.printable import counted, printable, shell_word, utf8


def test_bytes_that_are_no_utf8() -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    assert utf8(name) == r"caf\xe9.jpg"
    assert utf8("\ud800") == r"\ud800"
    assert utf8("café\n") == "café\n"


def test_control_characters_are_shown() -> None:
    assert printable("a\x1b[31m\nb\x7f\u202e.jpg") == r"a\x1b[31m\nb\x7f\u202e.jpg"
    assert printable("Straße 東京\u00a0 1") == "Straße 東京\u00a0 1"
    assert printable(os.fsdecode(b"caf\xe9.jpg")) == r"caf\xe9.jpg"


def test_words_of_a_command() -> None:
    assert shell_word(Path("maps/city")) == "maps/city"
    assert shell_word(Path("my maps/it's")) == "'my maps/it'\"'\"'s'"
    assert shell_word("-o") == "./-o"


def test_counted() -> None:
    assert counted(1, "golden image") == "1 golden image"
    assert counted(0, "image") == "0 images"
    assert (counted(1, "city"), counted(2, "city")) == ("1 city", "2 cities")
    assert (counted(1, "query"), counted(3, "query")) == ("1 query", "3 queries")
    assert counted(62514, "place", spec=",") == "62,514 places"
    assert counted(2, "key") == "2 keys"
