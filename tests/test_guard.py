"""Outputs of functions that programs call, kept off what the same call reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgevpr.artifacts.features import join
from edgevpr.compile.index.build_index import build_gallery
from edgevpr.compile.options import CompileOptions
from edgevpr.compile.pipeline import compile_artifact
from edgevpr.data.convert import convert
from edgevpr.errors import UsageError
from edgevpr.guard import keeps_inputs


@dataclass(frozen=True)
class Inner:
    gallery: Path | None


@dataclass(frozen=True)
class Settings:
    images: Path
    name: str
    inner: Inner


@keeps_inputs("out", "table", files=("table",))
def made(
    settings: Settings,
    features: Path | Sequence[Path] = (),
    out: Path | None = None,
    *,
    table: Path | None = None,
    name: str = "",
) -> str:
    return name or settings.name


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("images", "a", "b", "gallery"):
        Path(name).mkdir()
        Path(name, "manifest.json").write_text("{}")
    return tmp_path


def test_every_path_of_a_call_is_an_input(here: Path) -> None:
    """Alone, in lists, as text, in options of options; by position and by name."""
    settings = Settings(Path("images"), "out", Inner(Path("gallery")))
    for taken in ("images", "gallery/x", "a", "b/x", str(here)):
        with pytest.raises(UsageError, match=r"found `out` .*the input"):
            made(settings, ["a", Path("b")], Path(taken))  # type: ignore[list-item]
        with pytest.raises(UsageError, match=r"found `out` .*the input"):
            made(settings, features=(Path("a"), Path("b")), out=Path(taken))
    with pytest.raises(UsageError, match=r"found `table` .*lies inside the input"):
        made(settings, table=Path("images/t.csv"))


def test_what_is_no_input_does_not_hinder(here: Path) -> None:
    """Texts that name no path, and outputs among themselves."""
    settings = Settings(Path("images"), "c", Inner(None))
    assert made(settings, Path("a"), Path("c"), table=Path("c.csv"), name="c") == "c"
    assert made(settings, out=Path("gallery")) == "c"
    assert made.__name__ == "made"


def test_the_functions_behind_the_verbs(here: Path) -> None:
    """Refuse before anything is read or made; what they would have read is no artifact."""
    options = CompileOptions(target="cpu", gallery=Path("gallery"))
    with pytest.raises(UsageError, match=r"`out` gallery, which is the input gallery"):
        compile_artifact(Path("a"), options, out=Path("gallery"), export=lambda *_: None)
    with pytest.raises(UsageError, match=r"`out` a, which is the input a"):
        build_gallery([Path("b"), Path("a")], Path("a"))
    with pytest.raises(UsageError, match=r"`out` b/x, which lies inside the input b"):
        build_gallery(Path("a"), Path("b/x"), queries=Path("b"))
    with pytest.raises(UsageError, match=r"`out` images/utm, which lies inside"):
        convert(Path("images"), Path("images/utm"))
    with pytest.raises(UsageError, match=r"`out` a, which is the input a"):
        join([Path("a"), Path("b")], Path("a"))
    assert sorted(path.name for path in here.rglob("*") if path.is_file()) == ["manifest.json"] * 4


def test_training_and_embedding(here: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("lightning")
    from edgevpr.train.config import TrainConfig
    from edgevpr.train.embed.embed import embed
    from edgevpr.train.fit import fit
    from edgevpr.train.networks.architecture import Architecture

    config = TrainConfig(
        images=Path("images"), architecture=Architecture("resnet10t"), validation=Path("a")
    )
    with pytest.raises(UsageError, match=r"`out` a, which is the input a"):
        fit(config, Path("a"))
    with pytest.raises(UsageError, match=r"`tensorboard` images/x, which lies inside"):
        fit(config, Path("c"), tensorboard=Path("images/x"))
    with pytest.raises(UsageError, match=r"`out` b, which is the input b"):
        embed(Path("b"), Path("images"), Path("b"))
