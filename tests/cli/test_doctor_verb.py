"""What ``edgevpr doctor`` prints: every missing thing once."""

import sys
from collections.abc import Callable

import msgspec
import pytest

from edgevpr.cli import doctor as verb
from edgevpr.device.board import Board
from edgevpr.device.packages import TensorRT
from edgevpr.device.targets import all_targets
from edgevpr.profiles import doctor
from edgevpr.profiles.doctor import DoctorReport, examine, problems, target_state

NANO = Board("Orin Nano", ["p3767-0005"], "jetson-orin-nano-8gb", "36.4.3", "6.1", "10.3", "12.6",
             "2 MAXN_SUPER", {})  # fmt: skip
Lines = Callable[[Board | None], list[str]]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lines:
    """The lines printed on a machine with the bare install: a PC, or a board without TensorRT."""

    def lines(board: Board | None) -> list[str]:
        report = examine()
        packages = [
            p if not p.extra else msgspec.structs.replace(p, version=None, ok=False)
            for p in report.machine.packages
        ]
        trouble = "found no Python package of TensorRT: run apt" if board else ""
        machine = msgspec.structs.replace(
            report.machine, board=board, gpus=[], no_gpu="no driver", packages=packages,
            tensorrt=TensorRT("", "", False, trouble), tensorrt_rtx=None,
        )  # fmt: skip
        made: DoctorReport = msgspec.structs.replace(
            report, machine=machine, problems=problems(machine),
            targets=[target_state(target, machine) for target in all_targets()],
        )  # fmt: skip
        monkeypatch.setattr(doctor, "examine", lambda: made)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
        verb.command()
        printed = capsys.readouterr()
        return (printed.out + printed.err).splitlines()

    return lines


@pytest.mark.parametrize("board", [None, NANO])
def test_no_line_says_what_another_has_said(bare: Lines, board: Board | None) -> None:
    """Catches a reason that stands beside every target, and a package under two spellings."""
    lines = bare(board)
    targets = lines[lines.index("Targets") + 3 : lines.index("", lines.index("Targets"))]
    reasons = [line[line.index("  no  ") :] for line in targets if "  no  " in line]
    assert len(targets) <= 5
    assert len(reasons) == len(set(reasons))
    text = "\n".join(lines)
    assert text.count("found no Python package of TensorRT") == (board is not None)
    assert text.count("pip install 'edgevpr[compile,train]'") <= 2
    for package in ("pycuda", "timm", "tensorrt-rtx", "cryptography"):
        assert sum(f"lacks {package}" in line or f" {package}" in line for line in lines) <= 1


def test_every_target_is_counted(bare: Lines) -> None:
    lines = bare(None)
    targets = lines[lines.index("Targets") + 3 : lines.index("", lines.index("Targets"))]
    names = [name.strip() for line in targets for name in line.split("  ")[0].split(",")]
    shown = sum(1 + int(name.partition("(+ ")[2].rstrip(")") or 0) for name in names)
    assert shown == len(list(all_targets()))


def test_a_board_is_not_told_to_install_tensorrt_by_pip(bare: Lines) -> None:
    """JetPack's is the one that runs there."""
    assert any(line.startswith("jetson ") for line in bare(NANO))
    assert not any(line.startswith("cuda  ") and "lacks" in line for line in bare(NANO)[:40])
    assert not any(line.startswith("jetson  ") for line in bare(None))
