"""Verbs that bundles and galleries share, and what ``bundle show`` says of engines."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgevpr.cli.main import app
from edgevpr.cli.verbs import load
from edgevpr.compile.index.build_index import build_gallery
from edgevpr.compile.index.index_options import IndexOptions

from ..maps import write_features
from ..runtime.build import write_bundle


def edgevpr(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bundle/, gallery/"""
    root = tmp_path_factory.mktemp("made")
    write_bundle(root / "bundle")
    write_features(root / "features", range(20))
    build_gallery(root / "features", root / "gallery", options=IndexOptions(factory="Flat"))
    return root


@pytest.mark.parametrize("kind", ["bundle", "gallery"])
def test_sign_and_verify(made: Path, tmp_path: Path, kind: str) -> None:
    """Of either kind, with its own words in the help."""
    pytest.importorskip("cryptography")
    assert "not signed" in edgevpr(kind, "verify", made / kind)
    line = edgevpr("bundle", "key", "-o", tmp_path / "key.pem")
    (tmp_path / "trusted").write_text(line)
    signed = json.loads(
        edgevpr(kind, "sign", made / kind, "--key", tmp_path / "key.pem", "--signed-name", "r1",
                "--signed-version", 7, "--json")
    )  # fmt: skip
    assert (signed["name"], signed["version"]) == ("r1", 7)
    assert signed["public_key"] in line
    found = json.loads(
        edgevpr(kind, "verify", made / kind, "--trusted-keys", tmp_path / "trusted", "--json")
    )
    assert found["signed_by"] == line.split()[-1]  # the name that stands beside the key
    for name in ("verify", "sign"):
        argument = load(kind).commands[name].params[0]
        assert argument.metavar == kind.upper()
        assert argument.help.startswith(f"{kind.capitalize()} artifact")
    text = " ".join(edgevpr(kind, "verify", "--help").split())
    assert f"the {kind} must be signed" in text


def test_a_bundle_for_onnx_runtime_needs_no_engine(made: Path, tmp_path: Path) -> None:
    """And one for TensorRT without any says how to get it."""
    shown = edgevpr("bundle", "show", made / "bundle")
    assert "none needed: ONNX Runtime runs the graph" in shown
    assert "edgevpr build" not in shown
    write_bundle(tmp_path / "b", runtime="tensorrt")
    assert "none: run edgevpr build on the device" in edgevpr("bundle", "show", tmp_path / "b")
