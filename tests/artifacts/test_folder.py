"""Artifact folders: round trip, damage, replacement."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import Artifact, read_json, write_json
from edgevpr.artifacts.space import check_same_space
from edgevpr.errors import (
    ArtifactKindError,
    ArtifactVersionError,
    CorruptArtifactError,
    DataError,
    EdgeVPRError,
    SpaceMismatchError,
    UsageError,
)


class Record(msgspec.Struct):
    count: int
    name: str


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A features artifact with a record, some bytes, and a file in a folder."""
    path = tmp_path / "features"
    with write_artifact(path, "features", space="net-8-abc") as folder:
        write_json(folder / "record.json", Record(3, "å"))
        (folder / "data.bin").write_bytes(bytes(range(256)) * 8)
        (folder / "engines").mkdir()
        (folder / "engines" / "a.engine").write_bytes(b"engine")
    return path


def edit(path: Path, change: Callable[[dict], object]) -> None:
    """Change what the manifest says."""
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_round_trip(out: Path) -> None:
    """Files, files in folders and the space come back."""
    opened = open_artifact(out, "features")
    assert opened.space == "net-8-abc"
    assert opened.read("record.json", Record) == Record(3, "å")
    assert opened.file("data.bin").read_bytes() == bytes(range(256)) * 8
    assert set(opened.manifest.files) == {"record.json", "data.bin", "engines/a.engine"}
    assert [p.name for p in out.parent.iterdir()] == ["features"], "temporaries left"


def test_an_artifact_without_descriptors_has_no_space(tmp_path: Path) -> None:
    """It is the empty string, not None."""
    with write_artifact(tmp_path / "p", "profile"):
        pass
    assert open_artifact(tmp_path / "p", "profile").space == ""


def test_digest_is_the_content(out: Path, tmp_path: Path) -> None:
    """Wherever the artifact lies."""

    def digest(name: str, data: bytes) -> str:
        with write_artifact(tmp_path / name, "model") as folder:
            (folder / "w").write_bytes(data)
        return open_artifact(tmp_path / name, "model").digest

    assert digest("a", b"1") == digest("b", b"1")
    assert digest("c", b"2") != digest("a", b"1")
    copy = tmp_path / "elsewhere"
    shutil.copytree(out, copy)
    assert open_artifact(copy, "features").digest == open_artifact(out, "features").digest


def test_a_file_that_is_not_listed_is_not_handed_out(out: Path) -> None:
    (out / "stray.json").write_text("{}")
    with pytest.raises(CorruptArtifactError, match=r"stray\.json"):
        open_artifact(out, "features").file("stray.json")


@pytest.mark.parametrize("keep", [0, 1, 2047])
def test_truncation(out: Path, keep: int) -> None:
    """Sizes are checked without hashing too."""
    file = out / "data.bin"
    file.write_bytes(file.read_bytes()[:keep])
    for verify in (True, False):
        with pytest.raises(CorruptArtifactError, match=rf"{keep} bytes, expected 2048"):
            open_artifact(out, "features", verify=verify)


@pytest.mark.parametrize("byte", [0, 1000, 2047])
@pytest.mark.parametrize("bit", [0, 7])
def test_bit_flip(out: Path, byte: int, bit: int) -> None:
    """Any single bit, first to last byte."""
    data = bytearray((out / "data.bin").read_bytes())
    data[byte] ^= 1 << bit
    (out / "data.bin").write_bytes(data)
    with pytest.raises(CorruptArtifactError, match=r"data\.bin has changed"):
        open_artifact(out, "features")


def test_missing_file(out: Path) -> None:
    """In a folder as well."""
    (out / "engines" / "a.engine").unlink()
    with pytest.raises(CorruptArtifactError, match=r"engines/a\.engine"):
        open_artifact(out, "features")


def test_wrong_kind_names_both_and_the_command(out: Path) -> None:
    with pytest.raises(ArtifactKindError, match=r"features artifact.*bundle.*edgevpr compile"):
        open_artifact(out, "bundle")


@pytest.mark.parametrize("format", [0, 2])
def test_wrong_version_is_told_before_the_rest_is_read(out: Path, format: int) -> None:
    """Another format need not have the same fields."""
    edit(out, lambda m: (m.update(format=format, creator="9.1"), m.pop("files")))
    with pytest.raises(ArtifactVersionError, match=rf"format {format} .*9\.1.*format 1"):
        open_artifact(out, "features")


def test_wrong_space(out: Path) -> None:
    with pytest.raises(SpaceMismatchError, match=r"net-8-abc.*net-8-def"):
        check_same_space(open_artifact(out, "features").space, "F", "net-8-def", "the gallery G")


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "engines/../../outside"])
def test_a_manifest_cannot_point_outside(out: Path, name: str) -> None:
    (out.parent / "outside").write_bytes(b"x")
    edit(out, lambda m: m["files"].update({name: m["files"]["data.bin"]}))
    with pytest.raises(CorruptArtifactError, match="inside the folder"):
        open_artifact(out, "features")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": "1"}', '{"format": 1}', "\xff\xfe"]
)
def test_a_damaged_manifest(out: Path, text: str) -> None:
    """JSON that is cut, foreign, or of another shape is refused in one sentence."""
    (out / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CorruptArtifactError, match=r"manifest\.json unreadable"):
        open_artifact(out, "features")


def test_no_artifact_there(tmp_path: Path) -> None:
    """A path that is wrong and an ordinary folder are told apart."""
    with pytest.raises(DataError, match=r"nothing at .*edgevpr embed"):
        open_artifact(tmp_path / "none", "features")
    with pytest.raises(DataError, match="an ordinary folder"):
        open_artifact(tmp_path, "features")


def test_a_record_of_another_shape(out: Path) -> None:
    with pytest.raises(CorruptArtifactError, match="expected a Manifest"):
        open_artifact(out, "features").read("record.json", type(opened_manifest(out)))
    with pytest.raises(CorruptArtifactError, match="expected a Record"):
        read_json(out / "absent.json", Record)


def opened_manifest(out: Path) -> msgspec.Struct:
    return open_artifact(out, "features").manifest


def test_replacing_takes_the_whole_folder(out: Path) -> None:
    """No file of the old artifact is left in the new one."""
    with write_artifact(out, "features", space="s") as folder:
        (folder / "new").write_bytes(b"n")
    assert sorted(p.name for p in out.iterdir()) == ["manifest.json", "new"]
    assert [p.name for p in out.parent.iterdir()] == ["features"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, EdgeVPRError])
def test_an_exception_keeps_the_old_one(out: Path, error: type[BaseException]) -> None:
    """A failed or interrupted run changes nothing and leaves nothing."""
    before = open_artifact(out, "features").digest

    def fail_halfway() -> None:
        with write_artifact(out, "features") as folder:
            (folder / "half").write_bytes(b"h")
            raise error

    with pytest.raises(error):
        fail_halfway()
    assert open_artifact(out, "features").digest == before
    assert [p.name for p in out.parent.iterdir()] == ["features"]


def foreign(path: Path, what: str) -> dict[str, bytes]:
    """Put something at ``path`` that is not a features artifact; returns what it holds."""
    if what == "file":
        path.write_bytes(b"mine")
        return {}
    path.mkdir()
    (path / "thesis.txt").write_bytes(b"mine")
    if what == "another program's manifest":
        (path / "manifest.json").write_text('{"manifest_version": 3, "name": "extension"}')
    if what == "another program's numbered manifest":
        (path / "manifest.json").write_text('{"format": 1, "kind": "features-of-mine"}')
    if what == "a broken manifest":
        (path / "manifest.json").write_text("{")
    return {p.name: p.read_bytes() for p in path.iterdir()}


@pytest.mark.parametrize(
    "what",
    [
        "file",
        "folder",
        "another program's manifest",
        "another program's numbered manifest",
        "a broken manifest",
    ],
)
def test_what_edgevpr_did_not_write_is_not_touched(tmp_path: Path, what: str) -> None:
    """Other programs name a file manifest.json too."""
    path = tmp_path / "mine"
    before = foreign(path, what)
    with pytest.raises(UsageError, match="did not write"), write_artifact(path, "features"):
        pytest.fail("the block must not run: work would be done for nothing")
    assert path.is_file() or {p.name: p.read_bytes() for p in path.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_another_kind_is_not_replaced(out: Path) -> None:
    """``edgevpr index -o FEATURES`` is refused."""
    with pytest.raises(UsageError, match="a features artifact"), write_artifact(out, "gallery"):
        pass
    open_artifact(out, "features")


def test_work_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """The place is checked before the work and again after it."""
    path = tmp_path / "out"
    with pytest.raises(UsageError, match="did not write"), write_artifact(path, "model"):
        foreign(path, "folder")
    assert (path / "thesis.txt").read_bytes() == b"mine"


def test_an_empty_folder_and_a_link_are_places_to_write(out: Path, tmp_path: Path) -> None:
    """A link is followed and stays a link."""
    (tmp_path / "empty").mkdir()
    with write_artifact(tmp_path / "empty", "model"):
        pass
    open_artifact(tmp_path / "empty", "model")
    link = tmp_path / "link"
    link.symlink_to(out)
    with write_artifact(link, "features", space="through the link"):
        pass
    assert link.is_symlink()
    assert open_artifact(out, "features").space == "through the link"


def test_parents_are_made(tmp_path: Path) -> None:
    with write_artifact(tmp_path / "a" / "b" / "c", "model"):
        pass
    assert isinstance(open_artifact(tmp_path / "a" / "b" / "c", "model"), Artifact)


def test_an_artifact_is_readable_by_other_users(out: Path) -> None:
    """The permissions are not those of a temporary file."""
    assert out.stat().st_mode & 0o555 == 0o555
    assert (out / "manifest.json").stat().st_mode & 0o444 == 0o444


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 600 + "b", "a\0b", "a//b", "./a", "a\nb", ""])
def test_names_that_are_no_plain_names(out: Path, name: str) -> None:
    edit(out, lambda m: m["files"].update({name: m["files"]["data.bin"]}))
    with pytest.raises(CorruptArtifactError, match="plain names"):
        open_artifact(out, "features")


@pytest.mark.parametrize("field", ["creator", "space"])
def test_a_manifest_that_changed(out: Path, field: str) -> None:
    """It holds a digest of itself; one written before it did opens without."""
    edit(out, lambda m: m.update({field: "other"}))
    with pytest.raises(CorruptArtifactError, match=r"manifest\.json has changed"):
        open_artifact(out, "features")
    edit(out, lambda m: m.pop("sha256"))
    assert open_artifact(out, "features").digest


def test_a_manifest_nested_too_deep(out: Path) -> None:
    (out / "manifest.json").write_text('{"a":' * 200_000)
    with pytest.raises(CorruptArtifactError, match=r"manifest\.json unreadable"):
        open_artifact(out, "features")


def test_a_pipe_in_an_artifact_is_not_waited_for(out: Path) -> None:
    (out / "data.bin").unlink()
    os.mkfifo(out / "data.bin")
    with pytest.raises(CorruptArtifactError, match=r"data\.bin"):
        open_artifact(out, "features")


def test_what_is_read_is_what_was_listed(out: Path) -> None:
    """A file that changes after the check is refused when it is read."""
    opened = open_artifact(out, "features")
    assert opened.bytes("data.bin") == bytes(range(256)) * 8
    (out / "data.bin").write_bytes(bytes(2048))
    with pytest.raises(CorruptArtifactError, match=r"data\.bin has changed"):
        opened.bytes("data.bin")
    with pytest.raises(CorruptArtifactError, match="expected 16 or fewer"):
        opened.bytes("data.bin", 16)
