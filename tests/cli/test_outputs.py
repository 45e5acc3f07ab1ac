"""Outputs against inputs, of every verb at once."""

from pathlib import Path

import pytest

from edgevpr.cli.main import explain, run
from edgevpr.cli.outputs import FILES, FOLDERS, check
from edgevpr.cli.verbs import VERBS, load
from edgevpr.errors import UsageError


def folder(path: Path, name: str = "manifest.json") -> Path:
    path.mkdir(parents=True)
    (path / name).write_text("{}")
    return path


def test_folders_keep_off_inputs(tmp_path: Path) -> None:
    """An output that is, contains or lies inside an input, also by a link."""
    photos = folder(tmp_path / "in" / "photos", "1.jpg")
    (tmp_path / "link").symlink_to(photos)
    for out in (
        photos,
        photos / "new",
        tmp_path / "in",
        tmp_path / "link",
        tmp_path / "link" / "x",
    ):
        with pytest.raises(UsageError, match=r"found `output` .*the input"):
            check({"images": [photos], "output": out})
    check({"images": photos, "output": tmp_path / "photos", "save": None})
    check({"images": tmp_path / "nothing", "output": tmp_path / "nothing" / "x"})


def test_files_keep_off_inputs(tmp_path: Path) -> None:
    """A file may stand beside photos, but not in an artifact nor over what is there."""
    photos, model = folder(tmp_path / "photos", "1.jpg"), folder(tmp_path / "model")
    given = {"data": photos, "model": model}
    check({**given, "per_query": photos / "table.csv", "sheet": tmp_path / "a.jpg"})
    for name, out in (
        ("sheet", photos / "1.jpg"),
        ("per_query", model / "table.csv"),
        ("curve", model / "curve.csv"),
    ):
        with pytest.raises(UsageError, match=f"found `{name}` .*lies inside the input"):
            check({**given, name: out})
    with pytest.raises(UsageError, match="lies inside"):
        check({"profiles": [model], "output": model / "report.html"}, file_is_output=True)


@pytest.mark.parametrize(
    "words",
    [
        ["embed", "M", "in", "-o", "in/features"],
        ["index", "in", "-o", "in"],
        ["train", "in", "-o", "in/model"],
        ["eval", "M", "in", "--save", "in/x"],
        ["data", "convert", "in", "-o", "in/utm"],
        ["report", "in", "-o", "in/report.html"],
        ["run", "a.jpg", "--bundle", "in", "--gallery", "G", "-o", "in/out.jsonl"],
        ["compile", "M", "-t", "cpu", "--gallery", "in", "-o", "in"],
    ],
)
def test_every_verb_is_guarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """Before anything is read, with the verb's own flag in the sentence."""
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "in")
    with pytest.raises(UsageError) as error:
        run(words)
    code, sentence = explain(error.value)
    assert code == 2
    flag = "--save" if "--save" in words else "--output"
    assert sentence.startswith(f"found {flag} in")
    assert f"choose another {flag}" in sentence
    assert [p.name for p in (tmp_path / "in").iterdir()] == ["manifest.json"]


def test_outputs_have_known_names() -> None:
    """A path that a verb writes has one of the names that are looked at."""
    for verb in VERBS:
        command = load(verb)
        for each in getattr(command, "commands", {verb: command}).values():
            for parameter in each.params:
                said = (getattr(parameter, "help", "") or "").lower()
                if " to write" in said:
                    assert parameter.name in FOLDERS + FILES, f"{verb}: {parameter.name}: {said}"
