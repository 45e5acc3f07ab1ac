"""The first run on a device builds the engine."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import write_json
from edgevpr.artifacts.records import BundleRecord, EngineSidecar
from edgevpr.cli.engine import build_if_missing
from edgevpr.compile.engine import build_engine
from edgevpr.compile.engine.sidecars import BuildReport
from edgevpr.errors import TargetError
from edgevpr.preprocess import Preprocess
from edgevpr.runtime.engines import engine_choice


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle for a Jetson, as compile leaves it: without engines."""
    record = BundleRecord(
        target="jetson-orin", runtime="tensorrt", precision="fp16", preprocess=Preprocess(8, 8),
        input="images", output="descriptor", dim=4, output_dim=4, projection="", model_digest="",
        graph_sha256="0", engines=[], evidence={},
    )  # fmt: skip
    with write_artifact(tmp_path / "b", "bundle", space="boq-4-000000000000") as folder:
        write_json(folder / "bundle.json", record)
    return tmp_path / "b"


class Gpu:
    """Stand-in for TensorRT and CUDA on an Orin: version and compute capability."""

    __version__ = "10.3.0"

    def compute_capability(self) -> tuple[int, int]:
        return 8, 7


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Bundles that were built, on a machine with a GPU."""

    class Cuda:
        Device = staticmethod(lambda _: Gpu())

    done: list[Path] = []

    def build_bundle(path: Path, **_: Any) -> BuildReport:
        done.append(path)
        opened = open_artifact(path, "bundle")
        record = opened.read("bundle.json", BundleRecord)
        sidecar = EngineSidecar(
            "new.engine",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "0", "fp16", "tensorrt", "10.3.0", "sm_87", "Orin", [], 1.0,
        )  # fmt: skip
        with write_artifact(path, "bundle", space=opened.space) as folder:
            (folder / "engines").mkdir()
            (folder / "engines" / "new.engine").write_bytes(b"test")
            write_json(folder / "engines" / "new.json", sidecar)
            write_json(
                folder / "bundle.json", msgspec.structs.replace(record, engines=["new.engine"])
            )
        return BuildReport(str(path), [sidecar], None, None, ["a remark"])

    monkeypatch.setattr(engine_choice, "load_libraries", lambda *_: (Gpu(), Cuda()))
    monkeypatch.setattr(build_engine, "build_bundle", build_bundle)
    return done


def test_the_first_run_builds(
    bundle: Path, built: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The first run builds the engine in place of asking for edgevpr build, and says so."""
    build_if_missing(bundle)
    assert built == [bundle]
    said = capsys.readouterr().err
    assert "found no engine yet in" in said
    assert "expected one for tensorrt 10.3.0 on sm_87: building one" in said
    assert "a remark" in said
    build_if_missing(bundle)
    assert built == [bundle]


def test_what_cannot_run_here_is_not_built(
    bundle: Path, built: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU or TensorRT nothing is built."""

    def refuse(*_: object) -> None:
        raise TargetError("no GPU")

    monkeypatch.setattr(engine_choice, "load_libraries", refuse)
    with pytest.raises(TargetError, match="no GPU"):
        build_if_missing(bundle)
    assert built == []
