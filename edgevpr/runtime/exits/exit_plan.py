"""Plan of a bundle with early exits and a gallery: who picks, and what holds for each exit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.artifacts.records import BundleExit, BundleRecord
from edgevpr.errors import UsageError
from edgevpr.printable import shell_word
from edgevpr.runtime.exits.budget_file import BudgetFile
from edgevpr.runtime.exits.parse_exit import ExitChoice, parse_exit
from edgevpr.runtime.exits.policies import (
    BudgetExit,
    ConfidentExit,
    DeadlineExit,
    FixedExit,
    Policy,
)
from edgevpr.runtime.gallery.gallery import Gallery
from edgevpr.runtime.judge import Judge, judge_for, no_fix_remark

Notify = Callable[[str], None]


@dataclass(frozen=True)
class ExitPlan:
    """Policy, and by exit that it may answer by: judge and search parameters."""

    policy: Policy
    #: None: the gallery has no confidence model of the exit, and its answers are no fix.
    judges: dict[str, Judge | None]
    #: FAISS parameter string.
    parameters: dict[str, str]
    #: ages count from the frame's pixels being there; else from when work on it begins, as the
    #: frames of a file wait for nothing.
    live: bool = False

    def remarks(self, gallery: Path, *, assume_known: bool = False) -> list[str]:
        """Why answers of some exits will be no fix, each a sentence."""
        unjudged = [exit for exit, judge in self.judges.items() if judge is None]
        found = []
        if unjudged and not assume_known:
            found.append(_without_model(unjudged, gallery))
        for exit, judge in self.judges.items():
            remark = no_fix_remark(judge, gallery) if judge is not None else ""
            if remark:
                found.append(f"exit {exit}: {remark}")
        return found


def plan_exits(
    exit: str,
    path: Path,
    record: BundleRecord,
    gallery: Gallery,
    *,
    min_confidence: float | None = None,
    live: bool = False,
    notify: Notify,
) -> ExitPlan | None:
    """The plan for what ``exit`` asks for; None for a bundle without exits.

    Args:
        exit: as ``parse_exit`` takes it.
        path: of the bundle, for messages.
        gallery: sets the search parameters of each exit once, so that bad ones are found now.
        notify: called with one line where a budget file goes bad, and when it is good again.

    Raises:
        UsageError: the bundle has no such exit, or the gallery no confidence that is asked for.
        DataError: the budget file holds no level.
    """
    choice = parse_exit(exit)
    names = [each.name for each in record.exits]
    if choice.fixed:
        _check_exit(choice.name, path, names)
    elif not names:
        raise UsageError(
            f"found `exit` {exit!r} with {path}, which has no early exits, expected {FULL}: leave "
            "out `exit`, or run edgevpr compile MODEL with a model that has some"
        )
    if not names:
        return None
    used = [choice.name] if choice.fixed else names
    judges = {name: judge_for(gallery, record, exit=name) for name in used}
    if min_confidence is not None:
        judges = _held_to(min_confidence, judges, gallery.artifact.path)
    if choice.confidence is not None:
        judges = {name: judge for name, judge in judges.items() if judge is not None}
        if not judges:
            raise UsageError(
                f"found `exit` {exit!r} with {gallery.artifact.path}, which has no confidence "
                f"model of any exit of {path}, expected one: pass `exit` {FULL}, or run edgevpr "
                "index FEATURES --queries QUERIES with held-out images described at each exit"
            )
    ways = [each for each in record.exits if each.name in judges]
    plan = ExitPlan(
        _policy(choice, ways, notify),
        judges,
        {name: gallery.parameters_at(name, record.model_digest) for name in judges},
        live,
    )
    for parameters in plan.parameters.values():
        gallery.use(parameters)
    return plan


def _policy(choice: ExitChoice, ways: Sequence[BundleExit], notify: Notify) -> Policy:
    names = [each.name for each in ways]
    seeds = {
        each.name: (each.ms_p50, each.ms_p95)
        for each in ways
        if each.ms_p50 is not None and each.ms_p95 is not None
    }
    if choice.budget is not None:
        budget = BudgetFile(choice.budget, notify)
        return BudgetExit({each.name: each.share for each in ways}, budget)
    if choice.confidence is not None:
        return ConfidentExit(names, choice.confidence, choice.deadline_ms, seeds)
    if choice.deadline_ms is not None:
        return DeadlineExit(names, choice.deadline_ms, seeds)
    return FixedExit(choice.name)


def _check_exit(name: str, path: Path, names: Sequence[str]) -> None:
    if name in names or (not names and name == FULL):
        return
    if not names:
        raise UsageError(
            f"found `exit` {name!r} with {path}, which has no early exits, expected {FULL}: leave "
            "out `exit`, or run edgevpr compile MODEL with a model that has some"
        )
    raise UsageError(
        f"found `exit` {name!r} with {path}, expected one of {', '.join(names)}, deadline:MS, "
        f"confidence:P[,MS] or budget:FILE: pass `exit` {names[0]}"
    )


def _held_to(
    least: float, judges: dict[str, Judge | None], gallery: Path
) -> dict[str, Judge | None]:
    """The judges with a least confidence of the caller's; some exit must have one."""
    if not any(judges.values()):
        raise UsageError(
            f"found `min_confidence` {least:g} with {gallery}, which has no confidence model of "
            f"the exits {', '.join(judges)}, expected one: leave out `min_confidence`, or run "
            "edgevpr index FEATURES --queries QUERIES with held-out images described at each exit"
        )
    return {
        name: None if judge is None else Judge(judge.model, least) for name, judge in judges.items()
    }


def _without_model(exits: Sequence[str], gallery: Path) -> str:
    many = len(exits) > 1
    flag = "" if exits[0] == FULL else f" --exit {shell_word(exits[0])}"
    return (
        f"no answer of the exit{'s' if many else ''} {', '.join(exits)} will be a fix: {gallery} "
        f"has no confidence model of {'them' if many else 'it'}; run edgevpr embed MODEL IMAGES"
        f"{flag} -o QUERIES with held-out images and edgevpr index FEATURES --queries QUERIES, or "
        "pass `assume_known` to take every answer as right"
    )
