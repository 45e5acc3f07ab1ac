"""Signatures: coverage, keys, engines, versions, the policy of trusted keys."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("cryptography")

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import Artifact, sha256_file, write_json
from edgevpr.artifacts.policy import BOARD_KEY, POLICY
from edgevpr.artifacts.records import BundleRecord, EngineSidecar
from edgevpr.artifacts.sign import _read_private, check_board_key, new_key, sign, sign_engine
from edgevpr.artifacts.trust import (
    Signature,
    _first_statement,
    _text,
    check_engine_trusted,
    check_trusted,
    engine_signers,
    signer,
)
from edgevpr.errors import CorruptArtifactError, DataError, ResourceError, UsageError
from edgevpr.preprocess import Preprocess

RECORD = BundleRecord(
    target="cpu", runtime="onnxruntime", precision="fp32", preprocess=Preprocess(8, 8),
    input="image", output="descriptor", dim=4, output_dim=4, projection="", model_digest="",
    graph_sha256="", engines=[], evidence={},
)  # fmt: skip


def _write(path: Path) -> Path:
    with write_artifact(path, "bundle", space="space") as folder:
        (folder / "model.onnx").write_bytes(b"graph")
        write_json(folder / "bundle.json", RECORD)
    return path


def _rewrite(path: Path, change: Callable[[Path], object], space: str = "space") -> None:
    """Change the files of a bundle, with a manifest of what there is then."""
    opened = open_artifact(path, "bundle", trust=False)
    with write_artifact(path, "bundle", space=space) as folder:
        (folder / "engines").mkdir()
        for name in opened.manifest.files:
            (folder / name).write_bytes(opened.bytes(name))
        change(folder)


def _add_engine(folder: Path, content: bytes = b"engine", name: str = "orin") -> EngineSidecar:
    (folder / "engines" / f"{name}.engine").write_bytes(content)
    sidecar = EngineSidecar(
        f"{name}.engine", sha256_file(folder / "engines" / f"{name}.engine"), "", "fp16",
        "tensorrt", "10.3.0", "sm_87", "Orin", [], 1.0,
    )  # fmt: skip
    write_json(folder / "engines" / f"{name}.json", sidecar)
    record = msgspec.structs.replace(RECORD, engines=[sidecar.engine])
    write_json(folder / "bundle.json", record)
    return sidecar


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Path, Path, str]:
    """A signed bundle, its private key, and the public one."""
    public = new_key(tmp_path / "robots.pem")
    bundle = _write(tmp_path / "bundle")
    assert sign(bundle, tmp_path / "robots.pem").public_key == public
    return bundle, tmp_path / "robots.pem", public


def _trust(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "trusted"
    path.write_text("# the team\n\n" + "\n".join(lines) + "\n")
    return path


def test_signed_by(tmp_path: Path, signed: tuple[Path, Path, str]) -> None:
    bundle, key, public = signed
    opened = open_artifact(bundle, "bundle")
    assert signer(opened) == public
    assert check_trusted(opened, _trust(tmp_path, f"{public} robots")) == "robots"
    other = new_key(tmp_path / "other.pem")
    with pytest.raises(CorruptArtifactError, match="expected a key that"):
        check_trusted(opened, _trust(tmp_path, other))
    assert key.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("kind", ["bundle", "gallery"])
def test_policy_refuses_what_is_not_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    public = new_key(tmp_path / "robots.pem")
    for name in ("signed", "unsigned"):
        with write_artifact(tmp_path / name, kind, space="space") as folder:
            (folder / "data").write_bytes(b"data")
            if kind == "bundle":
                write_json(folder / "bundle.json", RECORD)
    sign(tmp_path / "signed", tmp_path / "robots.pem", kind=kind)
    monkeypatch.setenv(POLICY, str(_trust(tmp_path, public)))
    open_artifact(tmp_path / "signed", kind)
    with pytest.raises(CorruptArtifactError, match=f"not signed.*edgevpr {kind} sign"):
        open_artifact(tmp_path / "unsigned", kind)
    sign(tmp_path / "unsigned", tmp_path / "robots.pem", kind=kind)
    open_artifact(tmp_path / "unsigned", kind)


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_policy_is_no_way_around_it(
    signed: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(POLICY, value)
    with pytest.raises(UsageError, match=f"{POLICY} empty"):
        open_artifact(signed[0], "bundle")


@pytest.mark.parametrize("text", [None, "", "# none\n", "\xff", "é" * 44, "engines\n"])
def test_a_policy_without_keys_opens_nothing(
    tmp_path: Path,
    signed: tuple[Path, Path, str],
    monkeypatch: pytest.MonkeyPatch,
    text: str | None,
) -> None:
    """Missing, empty, not text, not keys."""
    if text is not None:
        (tmp_path / "trusted").write_bytes(text.encode("latin-1"))
    monkeypatch.setenv(POLICY, str(tmp_path / "trusted"))
    with pytest.raises(DataError):
        open_artifact(signed[0], "bundle")


def test_an_engine_built_later_keeps_the_signature(signed: tuple[Path, Path, str]) -> None:
    """And is nobody's until a board signs it."""
    bundle, _, public = signed
    _rewrite(bundle, _add_engine)
    opened = open_artifact(bundle, "bundle")
    assert signer(opened) == public
    assert engine_signers(opened) == {"orin": None}


@pytest.mark.parametrize("swapped", ["engine and sidecar", "added beside"])
def test_an_engine_that_was_signed_cannot_be_swapped(
    tmp_path: Path,
    signed: tuple[Path, Path, str],
    monkeypatch: pytest.MonkeyPatch,
    swapped: str,
) -> None:
    """Engine, sidecar and manifest changed together, all hashes right."""
    bundle, key, public = signed
    _rewrite(bundle, _add_engine)
    sign(bundle, key)
    monkeypatch.setenv(POLICY, str(_trust(tmp_path, public)))
    check_engine_trusted(open_artifact(bundle, "bundle"), "orin")
    assert engine_signers(open_artifact(bundle, "bundle")) == {"orin": public}
    name = "orin" if swapped == "engine and sidecar" else "mine"
    _rewrite(bundle, lambda folder: _add_engine(folder, b"evil", name))
    with pytest.raises(CorruptArtifactError, match=r"not of its content|not signed"):
        check_engine_trusted(open_artifact(bundle, "bundle"), name)


def test_an_engine_signed_by_its_board(
    tmp_path: Path, signed: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The board's key is trusted for engines alone, and for the one it signed."""
    bundle, _, public = signed
    board = new_key(tmp_path / "board.pem")
    monkeypatch.setenv(BOARD_KEY, str(tmp_path / "board.pem"))
    _rewrite(bundle, lambda folder: sign_engine(folder / "engines", _add_engine(folder)))
    monkeypatch.setenv(POLICY, str(_trust(tmp_path, public)))
    with pytest.raises(CorruptArtifactError, match=r"engines .* BOARD"):
        check_engine_trusted(open_artifact(bundle, "bundle"), "orin")
    _trust(tmp_path, public, f"engines {board} orin")
    check_engine_trusted(open_artifact(bundle, "bundle"), "orin")
    _rewrite(bundle, lambda folder: _add_engine(folder, b"evil"))
    with pytest.raises(CorruptArtifactError, match="not of this engine"):
        check_engine_trusted(open_artifact(bundle, "bundle"), "orin")
    sign(bundle, tmp_path / "board.pem")
    with pytest.raises(CorruptArtifactError, match="expected a key that"):
        open_artifact(bundle, "bundle")


def test_an_engine_of_the_maker_built_anew_by_a_board(
    tmp_path: Path, signed: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the same name: the rest of the bundle stays the maker's, the engine is the board's."""
    bundle, key, public = signed
    board = new_key(tmp_path / "board.pem")
    _rewrite(bundle, _add_engine)
    sign(bundle, key)
    monkeypatch.setenv(BOARD_KEY, str(tmp_path / "board.pem"))
    _rewrite(bundle, lambda folder: sign_engine(folder / "engines", _add_engine(folder, b"anew")))
    assert engine_signers(open_artifact(bundle, "bundle")) == {"orin": board}
    monkeypatch.setenv(POLICY, str(_trust(tmp_path, public)))
    with pytest.raises(CorruptArtifactError, match=r"engines .* BOARD"):
        check_engine_trusted(open_artifact(bundle, "bundle"), "orin")
    _trust(tmp_path, public, f"engines {board} orin")
    check_engine_trusted(open_artifact(bundle, "bundle"), "orin")
    # the board's signature of one engine does not carry another, nor another file of the bundle
    _rewrite(bundle, lambda folder: _add_engine(folder, b"evil"))
    with pytest.raises(CorruptArtifactError, match="not of this engine"):
        check_engine_trusted(open_artifact(bundle, "bundle"), "orin")
    monkeypatch.delenv(POLICY)
    _rewrite(bundle, lambda folder: (folder / "model.onnx").write_bytes(b"evil"))
    with pytest.raises(CorruptArtifactError, match="not of its content"):
        signer(open_artifact(bundle, "bundle"))


def test_a_build_that_nobody_could_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is refused before it starts."""
    check_board_key()
    monkeypatch.setenv(POLICY, str(_trust(tmp_path, new_key(tmp_path / "k.pem"))))
    with pytest.raises(UsageError, match=BOARD_KEY):
        check_board_key()
    monkeypatch.setenv(BOARD_KEY, str(tmp_path / "k.pem"))
    check_board_key()


def test_no_way_back_to_an_older_version(
    tmp_path: Path, signed: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one name; another bundle has versions of its own."""
    bundle, key, public = signed
    other = _write(tmp_path / "other")
    sign(bundle, key, version=5)
    old = {f.name: f.read_bytes() for f in bundle.iterdir() if f.is_file()}
    sign(bundle, key, version=6)
    sign(other, key, version=1)
    monkeypatch.setenv(POLICY, str(_trust(tmp_path, public)))
    for _ in range(2):
        open_artifact(bundle, "bundle")
        open_artifact(other, "bundle")
    assert json.loads((tmp_path / "trusted.versions").read_text()) == {
        "versions": {"bundle bundle": 6, "bundle other": 1}
    }
    for name, data in old.items():
        (bundle / name).write_bytes(data)
    with pytest.raises(CorruptArtifactError, match="version 5, expected 6 or higher"):
        open_artifact(bundle, "bundle")
    sign(bundle, key)
    open_artifact(bundle, "bundle")


def test_versions_that_cannot_be_read_or_noted(
    tmp_path: Path, signed: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, _, public = signed
    monkeypatch.setenv(POLICY, str(_trust(tmp_path, public)))
    monkeypatch.setenv("EDGEVPR_SIGNED_VERSIONS", str(tmp_path / "none" / "versions"))
    with pytest.raises(ResourceError, match="expected to note"):
        open_artifact(bundle, "bundle")
    monkeypatch.delenv("EDGEVPR_SIGNED_VERSIONS")
    (tmp_path / "trusted.versions").write_text("{")
    with pytest.raises(DataError, match="versions unreadable"):
        open_artifact(bundle, "bundle")


def _sign_as_before(bundle: Path, key: Path) -> None:
    """With a signature as they were before engines and versions were signed."""
    private = _read_private(key)
    public = _text(private.public_key().public_bytes_raw())

    def change(folder: Path) -> None:
        opened = open_artifact(bundle, "bundle")
        signature = _text(private.sign(_first_statement(opened)))
        document = {"algorithm": "ed25519", "public_key": public, "signature": signature}
        write_json(folder / "signature.json", document)

    _rewrite(bundle, change)


def test_a_signature_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holds, but not for engines, nor once a bundle with a version was opened."""
    public = new_key(tmp_path / "k.pem")
    bundle = _write(tmp_path / "bundle")
    _sign_as_before(bundle, tmp_path / "k.pem")
    monkeypatch.setenv(POLICY, str(_trust(tmp_path, public)))
    open_artifact(bundle, "bundle")
    _rewrite(bundle, _add_engine)
    with pytest.raises(CorruptArtifactError, match="not signed"):
        check_engine_trusted(open_artifact(bundle, "bundle"), "orin")
    newer = _write(tmp_path / "newer")
    sign(newer, tmp_path / "k.pem")
    open_artifact(newer, "bundle")
    with pytest.raises(CorruptArtifactError, match="version 0"):
        open_artifact(bundle, "bundle")


@pytest.mark.parametrize("what", ["graph", "record", "space", "added", "removed", "version"])
def test_changed_content_with_fresh_hashes(signed: tuple[Path, Path, str], what: str) -> None:
    """A manifest made anew for other content does not pass the signature."""
    bundle, key, _ = signed
    _rewrite(bundle, lambda folder: (folder / "golden.npy").write_bytes(b"golden"))
    sign(bundle, key, version=3)
    assert signer(open_artifact(bundle, "bundle"))
    record = msgspec.structs.replace(RECORD, preprocess=Preprocess(8, 8, std=(1.0, 1.0, 1.0)))

    def change(folder: Path) -> None:
        if what == "graph":
            (folder / "model.onnx").write_bytes(b"other")
        elif what == "record":
            write_json(folder / "bundle.json", record)
        elif what == "added":
            (folder / "weights.bin").write_bytes(b"weights")
        elif what == "removed":
            (folder / "golden.npy").unlink()
        elif what == "version":
            file = folder / "signature.json"
            document = msgspec.json.decode(file.read_bytes(), type=Signature)
            write_json(file, msgspec.structs.replace(document, version=9))

    _rewrite(bundle, change, "other" if what == "space" else "space")
    with pytest.raises(CorruptArtifactError, match="not of its content"):
        signer(open_artifact(bundle, "bundle"))


def test_bad_keys(tmp_path: Path, signed: tuple[Path, Path, str]) -> None:
    """A key is never written over; unreadable ones are refused in one sentence."""
    bundle, key, public = signed
    with pytest.raises(UsageError, match="never written over"):
        new_key(key)
    (tmp_path / "junk").write_text("junk")
    with pytest.raises(DataError, match="no readable private key"):
        sign(bundle, tmp_path / "junk")
    opened: Artifact = open_artifact(bundle, "bundle")
    with pytest.raises(DataError, match="line 3 of"):
        check_trusted(opened, _trust(tmp_path, public[:20]))
    with pytest.raises(DataError, match="unreadable"):
        check_trusted(opened, tmp_path / "none")
    document = json.loads((bundle / "signature.json").read_text())
    assert document["algorithm"] == "ed25519"
    with pytest.raises(UsageError, match="version"):
        sign(bundle, key, version=0)
