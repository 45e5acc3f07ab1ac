"""Signatures of bundles: coverage, keys, the policy of trusted keys."""

import json
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("cryptography")

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import write_json
from edgevpr.artifacts.records import BundleRecord
from edgevpr.artifacts.sign import new_key, sign
from edgevpr.artifacts.trust import POLICY, check_trusted, signer
from edgevpr.errors import CorruptArtifactError, DataError, UsageError
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


def test_policy_refuses_unsigned_bundles(
    tmp_path: Path, signed: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, _, public = signed
    unsigned = _write(tmp_path / "unsigned")
    monkeypatch.setenv(POLICY, str(_trust(tmp_path, public)))
    open_artifact(bundle, "bundle")
    with pytest.raises(CorruptArtifactError, match="not signed"):
        open_artifact(unsigned, "bundle")


def test_an_engine_built_later_keeps_the_signature(signed: tuple[Path, Path, str]) -> None:
    bundle, _, public = signed
    before = open_artifact(bundle, "bundle")
    signature = before.file("signature.json").read_bytes()
    with write_artifact(bundle, "bundle", space="space") as folder:
        (folder / "model.onnx").write_bytes(b"graph")
        write_json(folder / "bundle.json", msgspec.structs.replace(RECORD, engines=["engines/a"]))
        (folder / "engines").mkdir()
        (folder / "engines" / "a").write_bytes(b"engine")
        (folder / "signature.json").write_bytes(signature)
    assert signer(open_artifact(bundle, "bundle")) == public


@pytest.mark.parametrize("what", ["graph", "record", "space"])
def test_changed_content_with_fresh_hashes(signed: tuple[Path, Path, str], what: str) -> None:
    """A manifest made anew for other content does not pass the signature."""
    bundle, _, _ = signed
    signature = open_artifact(bundle, "bundle").file("signature.json").read_bytes()
    record = RECORD
    if what == "record":
        record = msgspec.structs.replace(RECORD, preprocess=Preprocess(8, 8, std=(1.0, 1.0, 1.0)))
    with write_artifact(bundle, "bundle", space="other" if what == "space" else "space") as folder:
        (folder / "model.onnx").write_bytes(b"other" if what == "graph" else b"graph")
        write_json(folder / "bundle.json", record)
        (folder / "signature.json").write_bytes(signature)
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
    opened = open_artifact(bundle, "bundle")
    with pytest.raises(DataError, match="line 3 of"):
        check_trusted(opened, _trust(tmp_path, public[:20]))
    with pytest.raises(DataError, match="unreadable"):
        check_trusted(opened, tmp_path / "none")
    document = json.loads((bundle / "signature.json").read_text())
    assert document["algorithm"] == "ed25519"
