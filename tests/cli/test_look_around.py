"""``edgevpr devices`` and ``edgevpr doctor``."""

import json

import pytest

from edgevpr.cli import devices, doctor
from edgevpr.device.targets import all_targets
from edgevpr.errors import UnknownTargetError


def test_devices_lists_every_target(capsys: pytest.CaptureFixture[str]) -> None:
    devices.command()
    out = capsys.readouterr().out
    assert all(target.name in out for target in all_targets())


def test_devices_marks_what_is_not_verified(capsys: pytest.CaptureFixture[str]) -> None:
    """A number that no document or board confirms has a question mark."""
    devices.command("jetson-orin-nx-8gb")
    captured = capsys.readouterr()
    assert "765 ?" in captured.out
    assert "1024 ?" not in captured.out
    assert "not verified" in captured.err
    devices.command("jetson-agx-orin-64gb")
    assert "?" not in capsys.readouterr().out


def test_devices_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One document, with the list of unverified numbers."""
    devices.command(json=True)
    listed = json.loads(capsys.readouterr().out)
    assert [t["name"] for t in listed] == [t.name for t in all_targets()]
    devices.command("jetson-orin-nx-8gb", json=True)
    assert "dla" in json.loads(capsys.readouterr().out)["unverified"]


def test_devices_refuses_an_unknown_name() -> None:
    """A misspelt name is an error that names near ones."""
    with pytest.raises(UnknownTargetError, match="jetson-orin-nano-8gb"):
        devices.command("orin-nano")


def test_doctor_says_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    """Python, packages and targets are listed."""
    doctor.command()
    out = capsys.readouterr().out
    for word in ("Python", "numpy", "cpu", "jetson-orin", "rtx-ada"):
        assert word in out


def test_doctor_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Each target that does not run gives its reason."""
    doctor.command(json=True)
    report = json.loads(capsys.readouterr().out)
    states = {state["target"]: state for state in report["targets"]}
    assert states["cpu"]["run"] is True
    assert all(s["build_reason"] or s["run_reason"] or s["run"] for s in states.values())
