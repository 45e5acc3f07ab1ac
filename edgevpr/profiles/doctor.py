"""Report of a machine: hardware, installed packages, and what can be built and run on it."""

import os
import platform
import sys
from pathlib import Path
from typing import Literal

import msgspec

from edgevpr import __version__
from edgevpr.device.board import Board, read_board
from edgevpr.device.gpu import Gpu, find_gpus
from edgevpr.device.packages import (
    Package,
    TensorRT,
    installed,
    locate_tensorrt,
    missing,
    packages,
    torch_pairing,
)
from edgevpr.device.targets import Target, all_targets
from edgevpr.profiles.camera_backends import CameraBackend, camera_backends

#: "recipe": the graph and its recipe, the engine being built on the board; "engine": the engine of
#: a bundle made elsewhere.
Build = Literal["yes", "recipe", "engine", "no"]


class TargetState(msgspec.Struct, frozen=True):
    """Whether a target can be built and run here, and what is missing where not."""

    target: str
    build: Build
    build_reason: str
    run: bool
    run_reason: str


class Machine(msgspec.Struct, frozen=True):
    """Hardware and packages that decide which targets are possible."""

    arch: str
    board: Board | None
    gpus: list[Gpu]
    #: why there is no GPU; empty when there is one.
    no_gpu: str
    packages: list[Package]
    tensorrt: TensorRT
    tensorrt_rtx: str | None


class DoctorReport(msgspec.Struct, frozen=True):
    """Output of ``edgevpr doctor``."""

    edgevpr: str
    python: str
    executable: str
    platform: str
    cpus: int
    memory_gb: float
    machine: Machine
    cameras: list[CameraBackend]
    problems: list[str]
    targets: list[TargetState]


def examine(root: Path = Path("/")) -> DoctorReport:
    """The report of this machine; starts and changes nothing, opens no camera."""
    board = read_board(root)
    gpus, no_gpu = find_gpus()
    machine = Machine(
        arch=platform.machine(),
        board=board,
        gpus=gpus,
        no_gpu=no_gpu,
        packages=packages(),
        tensorrt=locate_tensorrt(board),
        tensorrt_rtx=installed("tensorrt-rtx"),
    )
    return DoctorReport(
        edgevpr=__version__,
        python=platform.python_version(),
        executable=sys.executable,
        platform=platform.platform(),
        cpus=len(os.sched_getaffinity(0)),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        machine=machine,
        cameras=camera_backends(),
        problems=problems(machine),
        targets=[target_state(target, machine) for target in all_targets()],
    )


def problems(machine: Machine) -> list[str]:
    """Sentences about what is broken, as opposed to merely not installed."""
    found = [machine.tensorrt.problem, torch_pairing()]
    wrong = {p.name: p for p in machine.packages if p.version is not None and not p.ok}
    found += [
        f"{p.name} {p.version} is installed, expected {p.required}: "
        f"run pip install '{p.name}{p.required}'"
        for p in wrong.values()
    ]
    if installed("onnxruntime") and installed("onnxruntime-gpu"):
        found.append(
            "onnxruntime and onnxruntime-gpu overwrite each other's files: run pip uninstall "
            "onnxruntime-gpu, then pip install --force-reinstall onnxruntime"
        )
    return [sentence for sentence in found if sentence]


def target_state(target: Target, machine: Machine) -> TargetState:
    """Whether a bundle for ``target`` can be made here, and whether it can be run here."""
    build, build_reason = _build(target, machine)
    run_reason = _why_not_run(target, machine)
    return TargetState(target.name, build, build_reason, not run_reason, run_reason)


def _build(target: Target, machine: Machine) -> tuple[Build, str]:
    why_not_run = _why_not_run(target, machine)
    on_board = target.is_jetson and not why_not_run
    extras = ["compile", "train"]
    if target.runtime == "tensorrt-rtx":
        extras.append("rtx")
    absent = missing(machine.packages, *extras)
    if absent and on_board:
        return "engine", "make the bundle on a PC, copy it here and run edgevpr build BUNDLE"
    if absent:
        needed = [extra for extra in extras if any(p.extra == extra for p in absent)]
        lacks = " and ".join([", ".join(needed[:-1]), needed[-1]] if needed[1:] else needed)
        return "no", f"lacks packages of {lacks}: run pip install 'edgevpr[{','.join(needed)}]'"
    if target.runtime != "tensorrt" or not why_not_run:
        return "yes", ""
    if target.is_jetson:
        return "recipe", "the engine is built on the board, with edgevpr build BUNDLE"
    return "no", why_not_run


def _why_not_run(target: Target, machine: Machine) -> str:
    if target.runtime == "onnxruntime":
        absent = [p for p in missing(machine.packages, "") if p.name == "onnxruntime"]
        return "lacks onnxruntime: run pip install edgevpr" if absent else ""
    if target.is_jetson:
        return _why_not_on_board(target, machine)
    if not machine.gpus:
        return f"{machine.no_gpu}: run on a machine with the GPU"
    if target.runtime == "tensorrt-rtx":
        wanted = [target.sm, *target.also_sm]
        if not any(gpu.sm in wanted for gpu in machine.gpus):
            found = ", ".join(f"{gpu.name} (sm_{gpu.sm})" for gpu in machine.gpus)
            return f"found {found}, expected sm_{target.sm}: see edgevpr devices"
        if not machine.tensorrt_rtx:
            return "lacks tensorrt-rtx: run pip install 'edgevpr[rtx]'"
        return ""
    if not machine.tensorrt.location:
        return "lacks tensorrt: run pip install 'edgevpr[cuda]'"
    return ""


def _why_not_on_board(target: Target, machine: Machine) -> str:
    board = machine.board
    if board is None:
        return "runs on the board: copy the bundle there and run edgevpr build BUNDLE"
    here = {target.name: target.family for target in all_targets()}
    fits = target.name in (board.target, here.get(board.target))
    if not fits:
        return f"this board is {board.target or board.model}: run edgevpr devices {board.target}"
    if machine.tensorrt.problem:
        return machine.tensorrt.problem
    if not installed("pycuda"):
        return "lacks pycuda: run pip install 'edgevpr[jetson]'"
    return ""
