"""Notes, JSON, tables and progress bars of the verbs."""

import json

import pytest

from edgevpr.cli import console


def test_table_keeps_square_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    """The extra of a pip command is text, no markup."""
    console.table("T", ["a", "b"], [["x", "pip install 'edgevpr[compile]'"], ["y", None]])
    out = capsys.readouterr().out
    assert "edgevpr[compile]" in out
    assert "-" in out.splitlines()[-2]


def test_table_keeps_the_first_column_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    console.table("T", ["target", "why"], [["jetson-orin-nano-8gb", "word " * 30]])
    assert "jetson-orin-nano-8gb" in capsys.readouterr().out


def test_track_passes_everything_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Items pass through unchanged and stdout stays empty."""
    assert list(console.track([1, 2, 3], "counting")) == [1, 2, 3]
    assert list(console.track(iter("ab"), "unknown length")) == ["a", "b"]
    assert capsys.readouterr().out == ""


def test_track_ends_with_the_error_of_its_loop() -> None:

    def loop() -> None:
        for _ in console.track([1, 2], "interrupted"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop()


def test_remarks_and_data_part_ways(capsys: pytest.CaptureFixture[str]) -> None:
    """Notes and bars never mix into the JSON on stdout."""
    console.note("a remark")
    console.emit_json({"a": 1.5, "b": None})
    captured = capsys.readouterr()
    assert captured.err == "a remark\n"
    assert json.loads(captured.out) == {"a": 1.5, "b": None}


def test_notes_and_json_have_no_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    """And no control characters, nor names that are no UTF-8."""
    address = "rtsp://admin:s3cret@10.0.0.7/x"
    console.note(f"{address} is gone\n\x1b[31m")
    console.emit_json({"source": address, "remarks": [f"{address} \udce9"], "n": (1, 2.5, None)})
    found = capsys.readouterr()
    assert found.err == "rtsp://admin:***@10.0.0.7/x is gone\n\\x1b[31m\n"
    assert json.loads(found.out) == {
        "source": "rtsp://admin:***@10.0.0.7/x",
        "remarks": ["rtsp://admin:***@10.0.0.7/x \\xe9"],
        "n": [1, 2.5, None],
    }
    assert json.loads(console.json_text({"a": address})) == {"a": "rtsp://admin:***@10.0.0.7/x"}
