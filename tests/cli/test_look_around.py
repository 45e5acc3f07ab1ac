"""``edgevpr devices`` and ``edgevpr doctor``: the verbs that only look around."""

import json

import pytest

from edgevpr.cli import devices, doctor
from edgevpr.device.targets import all_targets
from edgevpr.errors import UnknownTargetError


def test_devices_lists_every_target(capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a target that is known and not shown."""
    devices.command()
    out = capsys.readouterr().out
    assert all(target.name in out for target in all_targets())


def test_devices_marks_what_is_not_verified(capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a number from memory shown as a fact."""
    devices.command("jetson-orin-nx-8gb")
    captured = capsys.readouterr()
    assert "765 ?" in captured.out
    assert "1024 ?" not in captured.out
    assert "not verified" in captured.err
    devices.command("jetson-agx-orin-64gb")
    assert "?" not in capsys.readouterr().out


def test_devices_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Catches JSON that is not one document, or lacks the marks."""
    devices.command(json=True)
    listed = json.loads(capsys.readouterr().out)
    assert [t["name"] for t in listed] == [t.name for t in all_targets()]
    devices.command("jetson-orin-nx-8gb", json=True)
    assert "dla" in json.loads(capsys.readouterr().out)["unverified"]


def test_devices_refuses_an_unknown_name() -> None:
    """Catches an empty answer to a misspelt name."""
    with pytest.raises(UnknownTargetError, match="jetson-orin-nano-8gb"):
        devices.command("orin-nano")


def test_doctor_says_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a doctor that says nothing of Python, packages or a target."""
    doctor.command()
    out = capsys.readouterr().out
    for word in ("Python", "numpy", "cpu", "jetson-orin", "rtx-ada"):
        assert word in out


def test_doctor_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a report that other programs cannot read."""
    doctor.command(json=True)
    report = json.loads(capsys.readouterr().out)
    states = {state["target"]: state for state in report["targets"]}
    assert states["cpu"]["run"] is True
    assert all(s["build_reason"] or s["run_reason"] or s["run"] for s in states.values())
