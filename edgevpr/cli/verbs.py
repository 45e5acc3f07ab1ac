"""Table of the verbs, and the group that imports only the one that is asked for."""

import importlib
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from edgevpr.cli.outputs import guarded
from edgevpr.cli.spelling import spelt

#: Verb -> first line of its help, in the order a user meets them. ``edgevpr --help`` prints this
#: table; importing all modules for it took half of its time.
VERBS = {
    "demo": "Run the whole chain on a synthetic city, without downloads or GPU.",
    "city": "Draw a synthetic city: data sets, and a drive as a video.",
    "data": "Check data sets against papers' protocols, and convert photos.",
    "models": "List networks with their cost, or import a published checkpoint or an ONNX graph.",
    "embed": "Describe the images of a folder with a network.",
    "features": "Import descriptors that another program computed.",
    "train": "Train a gallery network, or a query network into its space.",
    "codebook": "Learn the codebook of a model's tokens, for early exits.",
    "eval": "Measure Recall@K and precision over recall by exact search in the full space.",
    "explain": "Show where networks look and which places look alike.",
    "index": "Build a gallery: projection, index, measured operating points.",
    "gallery": "Add images to a gallery, remove some, compact it, roll it back, sign it.",
    "compile": "Compile a model for a target: graph, engine or recipe, evidence.",
    "build": "Build a bundle's engine on this device and check its descriptors.",
    "bundle": "Show what is in a bundle, check it, sign it.",
    "run": "Say where each frame was taken, one JSON line a frame.",
    "profile": "Measure latency of every stage, and recall, on this device.",
    "report": "Draw profiles as one HTML page that opens without network.",
    "doctor": "Say what is installed, and which targets build and run here.",
    "devices": "List compile targets and boards, or show one in detail.",
}


class VerbGroup(TyperGroup):
    """A group whose help wraps the first line of each command, where click would cut it."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = [
            (name, (command.help or "").strip().splitlines()[0])
            for name, command in self.commands.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def new_app(
    cls: type[TyperGroup] = VerbGroup, no_args_is_help: bool = True, **settings: Any
) -> typer.Typer:
    """Typer app with plain help, as in docs/verbs; importing rich for its panels takes 0.1 s."""
    return typer.Typer(
        cls=cls,
        no_args_is_help=no_args_is_help,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        **settings,
    )


def load(verb: str) -> Any:
    """The typer command, or group of commands, of a verb; imports its module."""
    module = importlib.import_module(f"edgevpr.cli.{verb}")
    if hasattr(module, "group"):
        command: Any = typer.main.get_group(module.group)
    else:
        alone = new_app(no_args_is_help=False, add_completion=False)
        alone.command(verb)(module.command)
        command = typer.main.get_command(alone)
    command.name = verb
    for each in getattr(command, "commands", {verb: command}).values():
        for parameter in each.params:
            if parameter.param_type_name == "argument" and parameter.metavar is None:
                parameter.metavar = parameter.name.upper()
        guarded(each)
        spelt(each)
    return command


class Verbs(VerbGroup):
    """All verbs by their line of help; the module of one is imported when it is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for verb, line in VERBS.items():
            self.add_command(TyperCommand(verb, help=line))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Name, command and remaining arguments; help and completion of a verb come here, too."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name in VERBS else command, rest
