"""Options of a verb taken from a dataclass: names, types, defaults and help have one source."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from edgevpr.cli.spelling import spell
from edgevpr.errors import UsageError
from edgevpr.option import Option

Verb = Callable[..., Any]


def takes(
    options: type, *, arguments: tuple[str, ...] = (), short: Mapping[str, str] | None = None
) -> Callable[[Verb], Verb]:
    """Put the fields of ``options`` where a verb has a parameter of that type.

    ::

        @takes(IndexOptions)
        def command(features: ..., options: IndexOptions, json: ... = False) -> None: ...

    Every field with an ``Option`` becomes an option of the command line, "--" and its name with
    dashes unless the ``Option`` says another flag. A field that is itself a dataclass is taken
    with its fields. ``dict`` fields are NAME=VALUE, repeatable; ``tuple[X, ...]`` are repeatable.

    Args:
        options: dataclass with ``Annotated[type, Option(...)]`` fields.
        arguments: fields that are positional arguments.
        short: one-letter flags by field, e.g. ``{"target": "-t"}``.
    """
    flags = dict(_flags(options, arguments))
    taken = list(_taken(options, flags, short or {}))

    def decorate(verb: Verb) -> Verb:
        own = inspect.signature(verb)
        (place,) = (p.name for p in own.parameters.values() if p.annotation is options)
        parameters = []
        for parameter in own.parameters.values():
            if parameter.name == place:
                parameters += [each.parameter for each in taken]
            else:
                # By name only, so that options without defaults may follow those with one.
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        defaults = {
            p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty
        }

        @functools.wraps(verb)
        def command(**values: Any) -> Any:
            values = {**defaults, **values}
            given = {each.name: each.value(values.pop(each.name)) for each in taken}
            return verb(**values, **{place: _build(options, given)})

        command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


@dataclass(frozen=True)
class _Taken:
    """One field, as the parameter of a verb."""

    name: str
    #: the field's type without its annotation.
    kind: Any
    parameter: inspect.Parameter

    def value(self, given: Any) -> Any:
        """What the field gets for what typer made of the command line."""
        if _is_dict(self.kind):
            return named_values(given, self.name)
        if _repeats(self.kind):
            return tuple(given or ())
        return given


def _options(options: type) -> Iterator[tuple[Any, Any, Option]]:
    """(dataclass field, type, Option) of every annotated field, those of inner dataclasses too."""
    hints = get_type_hints(options, include_extras=True)
    for field in fields(options):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield from _options(hint)  # type: ignore[arg-type]
        for option in getattr(hint, "__metadata__", ()):
            if isinstance(option, Option):
                yield field, get_args(hint)[0], option


def _flags(options: type, arguments: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Spelling of every field on the command line."""
    for field, _, option in _options(options):
        if field.name in arguments:
            yield field.name, field.name.upper()
        else:
            yield field.name, option.flag or "--" + field.name.replace("_", "-")


def _taken(options: type, flags: Mapping[str, str], short: Mapping[str, str]) -> Iterator[_Taken]:
    for field, kind, option in _options(options):
        typed, default = kind, field.default
        if _is_dict(kind) or _repeats(kind):
            typed = list[str if _is_dict(kind) else get_args(kind)[0]] | None  # type: ignore[misc]
            default = None
        settings: dict[str, Any] = {
            "help": spell(option.help, flags), "min": option.min, "max": option.max,
        }  # fmt: skip
        flag = flags[field.name]
        if not flag.startswith("-"):
            info = typer.Argument(metavar=flag, **settings)
        else:
            if default is True:
                flag = f"{flag}/--no-{flag.removeprefix('--')}"
            letters = [short[field.name]] if field.name in short else []
            info = typer.Option(flag, *letters, **settings)
        yield _Taken(
            field.name,
            kind,
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if default is MISSING else default,
                annotation=Annotated[typed, info],
            ),
        )


def _build(options: type, given: Mapping[str, Any]) -> Any:
    hints = get_type_hints(options)
    return options(
        **{
            field.name: (
                _build(hints[field.name], given)
                if is_dataclass(hints[field.name])
                else given[field.name]
            )
            for field in fields(options)
            if field.name in given or is_dataclass(hints[field.name])
        }
    )


def _is_dict(kind: Any) -> bool:
    return get_origin(kind) is dict


def _repeats(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis


def named_values(texts: list[str] | None, name: str) -> dict[str, int | float | str]:
    """["row_dim=8"] -> {"row_dim": 8}; ``name`` is the parameter that an error names."""
    values: dict[str, int | float | str] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(
                f"found `{name}` {text}, expected NAME=VALUE: pass for example row_dim=8"
            )
        values[key] = _number(value)
    return values


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
