"""Verb ``edgevpr doctor``: what is installed, and the targets it is enough for."""

from typing import Annotated, Any

import typer

from edgevpr.cli import console
from edgevpr.printable import counted

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def command(json: Json = False) -> None:
    """Say what is installed, and which targets build and run here.

    A target that does neither says why, and the command that helps.
    """
    from edgevpr.profiles.doctor import examine

    report = examine()
    if json:
        console.emit_json(report)
        return
    machine = report.machine
    rows = [
        ["edgevpr", report.edgevpr],
        ["Python", f"{report.python} ({report.executable})"],
        ["platform", f"{report.platform}, {counted(report.cpus, 'CPU')}, {report.memory_gb:g} GB"],
        ["GPU", ", ".join(f"{g.name} (sm_{g.sm})" for g in machine.gpus) or machine.no_gpu],
        ["TensorRT", _tensorrt(machine)],
    ]
    if board := machine.board:
        jetpack = f"JetPack {board.jetpack or '?'} (L4T {board.l4t or '?'})"
        rows.insert(3, ["board", f"{board.model}, {board.target or 'no profile'}, {jetpack}"])
        rows.insert(4, ["power mode", board.power_mode or "unknown: run nvpmodel -q"])
    console.table("This machine", ["", ""], rows)
    # A board has TensorRT from JetPack; a PC's comes with pip, and would hide it.
    other = "jetson" if machine.board is None else "cuda"
    console.table(
        "Packages, by extra: pip install 'edgevpr[EXTRA]'",
        ["extra", "state", "installed"],
        _extras([p for p in machine.packages if p.extra != other]),
    )
    console.table(
        "Live cameras",
        ["backend", "installed", "opens", "lacks"],
        [
            [c.name, c.version or "no", " ".join(c.opens), "; ".join(c.lacks)]
            for c in report.cameras
        ],
    )
    console.table(
        "Targets",
        ["target", "build here", "run here", "why not, and the next command"],
        _grouped(report),
    )
    for problem in report.problems:
        console.note(f"problem: {problem}")
    if not report.problems:
        console.note("no problems found")


def _extras(packages: list[Any]) -> list[list[str]]:
    """One row an extra: complete, or the packages it lacks; and the versions found."""
    rows = []
    for extra in dict.fromkeys(p.extra for p in packages):
        here = [p for p in packages if p.extra == extra]
        lacks = [p.name for p in here if p.version is None]
        found = [f"{p.name} {p.version}{'' if p.ok else ' (!)'}" for p in here if p.version]
        state = f"lacks {', '.join(lacks)}" if lacks else "complete"
        rows.append([extra or "(none)", state, ", ".join(found)])
    return rows


def _grouped(report: Any) -> list[list[str]]:
    """One row a state; of targets of one family that share it, the first and how many more.

    A reason is said once: a problem of the machine below the table, and only there.
    """
    from edgevpr.device.targets import load_target

    rows: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for state in report.targets:
        reason = state.build_reason or state.run_reason
        if reason in report.problems:
            reason = "see the problem below"
        families = rows.setdefault((state.build, "yes" if state.run else "no", reason), {})
        families.setdefault(load_target(state.target).family, []).append(state.target)
    return [
        [", ".join(map(_counted, families.values())), *state] for state, families in rows.items()
    ]


def _counted(names: list[str]) -> str:
    return names[0] + (f" (+ {len(names) - 1})" if names[1:] else "")


def _tensorrt(machine: Any) -> str:
    if not machine.tensorrt.location:
        return "not installed"
    origin = "JetPack's" if machine.tensorrt.from_system else "pip's"
    return f"{machine.tensorrt.version} {origin}, {machine.tensorrt.location}"
