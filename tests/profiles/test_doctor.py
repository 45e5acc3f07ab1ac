"""Targets that doctor reports as possible, for constructed machines and this one."""

import msgspec
import pytest

from edgevpr.device.board import Board
from edgevpr.device.gpu import Gpu
from edgevpr.device.packages import Package, TensorRT
from edgevpr.device.targets import load_target
from edgevpr.profiles import doctor
from edgevpr.profiles.doctor import Machine, TargetState, examine, target_state

NO_TENSORRT = TensorRT("", "", False, "")
FULL = [Package(name, extra, "", "1.0", True) for name, extra in (
    ("onnxruntime", ""), ("modelopt", "compile"), ("torch", "train"), ("tensorrt-rtx", "rtx"),
)]  # fmt: skip
BARE = [p if p.extra == "" else msgspec.structs.replace(p, version=None, ok=False) for p in FULL]
PC = Machine("x86_64", None, [], "no NVIDIA driver", FULL, NO_TENSORRT, "1.7")
ADA = Gpu("GeForce RTX 4090", 89, 24.0)
NANO = Board("Orin Nano", ["p3767-0005"], "jetson-orin-nano-8gb", "36.4.3", "6.1", "10.3", "12.6",
             "2 MAXN_SUPER", {})  # fmt: skip
SYSTEM = TensorRT("10.3.0", "/usr/lib/python3.10/dist-packages/tensorrt/__init__.py", True, "")


def state(name: str, machine: Machine) -> TargetState:
    return target_state(load_target(name), machine)


def test_pc_without_gpu() -> None:
    """It runs no GPU engine, and builds RTX engines ahead of time."""
    assert state("cpu", PC) == TargetState("cpu", "yes", "", True, "")
    ada = state("rtx-ada", PC)
    assert (ada.build, ada.run) == ("yes", False)
    assert "no NVIDIA driver" in ada.run_reason
    orin = state("jetson-orin", PC)
    assert (orin.build, orin.run) == ("recipe", False)
    assert "edgevpr build" in orin.build_reason
    assert state("cuda", PC).build == "no"


def test_bare_install_names_the_extras() -> None:
    bare = msgspec.structs.replace(PC, packages=BARE)
    cpu = state("cpu", bare)
    assert (cpu.build, cpu.run) == ("no", True)
    assert cpu.build_reason.endswith("pip install 'edgevpr[compile,train]'")
    assert state("rtx-ada", bare).build_reason.endswith("pip install 'edgevpr[compile,train,rtx]'")


def test_pc_with_an_ada_gpu() -> None:
    """Engines of other GPU generations do not run on it."""
    pc = msgspec.structs.replace(PC, gpus=[ADA], no_gpu="")
    assert state("rtx-ada", pc).run
    ampere = state("rtx-ampere", pc)
    assert not ampere.run
    assert "expected sm_86" in ampere.run_reason
    assert "edgevpr[cuda]" in state("cuda", pc).run_reason
    with_tensorrt = msgspec.structs.replace(
        pc, tensorrt=TensorRT("10.13", "/x/tensorrt", False, "")
    )
    assert state("cuda", with_tensorrt) == TargetState("cuda", "yes", "", True, "")


def test_on_a_board(monkeypatch: pytest.MonkeyPatch) -> None:
    """A board runs its own family's bundles, and no other's."""
    monkeypatch.setattr(doctor, "installed", lambda name: "1.0")  # pycuda, above all
    board = Machine("aarch64", NANO, [Gpu("Orin", 87, 7.4)], "", BARE, SYSTEM, None)
    own = state("jetson-orin-nano-8gb", board)
    assert (own.build, own.run) == ("engine", True)
    assert state("jetson-orin", board).run
    other = state("jetson-agx-orin-64gb", board)
    assert not other.run
    assert "jetson-orin-nano-8gb" in other.run_reason
    assert not state("jetson-thor", board).run


def test_a_shadowing_tensorrt_stops_the_board() -> None:
    shadow = TensorRT("10.13", "/v/site-packages/tensorrt", False, "pip copy shadows")
    board = Machine("aarch64", NANO, [], "", FULL, shadow, None)
    assert state("jetson-orin-nano-8gb", board).run_reason == "pip copy shadows"


def test_this_machine() -> None:
    """The report of an ordinary machine survives JSON."""
    report = examine()
    assert report.cpus >= 1
    assert {s.target for s in report.targets} >= {"cpu", "jetson-orin", "rtx-ada"}
    assert next(s for s in report.targets if s.target == "cpu").run
    assert msgspec.json.decode(msgspec.json.encode(report))["python"] == report.python
