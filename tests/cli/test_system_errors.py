"""What the operating system refuses, as sentences with their exit codes."""

import errno
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgevpr.cli.main import explain
from edgevpr.cli.system_errors import system_sentence
from edgevpr.compile.index.build_index import build_gallery

from ..maps import write_features


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (errno.EMFILE, 7, "too many open files"),
        (errno.ENFILE, 7, "too many open files"),
        (errno.EFBIG, 7, "ulimit -f"),
        (errno.EDQUOT, 7, "no space left"),
        (errno.EIO, 7, "failed at"),
        (errno.ESTALE, 7, "failed at"),
        (errno.EBADF, 7, "closed"),
        (errno.ENAMETOOLONG, 2, "name too long"),
        (errno.ELOOP, 2, "in a circle"),
        (errno.EISDIR, 2, "the folder out/x, expected a file"),
        (errno.ENOENT, 2, "found nothing at out/x"),
    ],
)
def test_one_sentence_each(number: int, code: int, says: str) -> None:
    found, sentence = explain(OSError(number, os.strerror(number), "out/x"))
    assert found == code
    assert says in sentence
    assert "unexpected" not in sentence
    assert ": " in sentence


def test_names_in_bytes_none_and_very_long_ones() -> None:
    assert "found nothing at out" in explain(OSError(errno.ENOENT, "x", b"out"))[1]
    assert "open the output" in explain(OSError(errno.EMFILE, "x"))[1]
    assert "unexpected" in explain(FileNotFoundError(errno.ENOENT, "x"))[1]
    assert len(explain(OSError(errno.ENAMETOOLONG, "x", "y" * 5000))[1]) < 400
    assert system_sentence(OSError(errno.ECONNREFUSED, "x")) is None


def test_names_cannot_steer_the_terminal() -> None:
    """Escape sequences, line feeds and bytes that are no UTF-8 are shown, not sent."""
    name = "a\x1b[2J\nedgevpr: all is well\udce9"
    _, sentence = explain(OSError(errno.ENOENT, "x", name))
    assert r"a\x1b[2J\nedgevpr: all is well\xe9" in sentence
    assert sentence.isprintable()


def test_too_many_open_files(tmp_path: Path) -> None:
    """Under any limit a verb does its work or says in one sentence what there was too little of;
    a file that could not be opened for that is not called damaged."""
    build_gallery(write_features(tmp_path / "features", range(20)), tmp_path / "gallery")
    said: set[str] = set()
    for limit, words in itertools.product(
        (5, 7, 9), (("index", "features", "-o", "g"), ("gallery", "stats", "gallery"))
    ):
        done = subprocess.run(
            ["sh", "-c", f'ulimit -n {limit}; exec "$0" -m edgevpr "$@"', sys.executable, *words],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode in (0, 7), done
        if done.returncode:
            said.add(done.stderr.splitlines()[-1])
        assert "Traceback" not in done.stderr
    assert said
    assert all(line.startswith("edgevpr: found too many open files") for line in said), said
