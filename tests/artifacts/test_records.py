"""Records: round trip through JSON, and refusal of other shapes."""

import types
import typing
from typing import Any

import msgspec
import pytest

from edgevpr.artifacts import records

KINDS = [
    kind
    for kind in vars(records).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind is not msgspec.Struct
]


def example(kind: Any) -> Any:
    """Some value of a type, so that a record added later is tested without being named here."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind(**{f.name: example(f.type) for f in msgspec.structs.fields(kind)})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return arguments[0]
    if origin in (typing.Union, types.UnionType):
        return example(arguments[0])
    if origin is tuple:
        return tuple(example(a) for a in arguments if a is not Ellipsis)
    if origin in (list, dict):
        return [example(arguments[0])] if origin is list else {"key": example(arguments[1])}
    return {str: "text", int: 3, float: 1.5, bool: True, Any: 0.25}[kind]


EXAMPLES = [example(kind) for kind in KINDS]


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda r: type(r).__name__)
def test_round_trip(record: msgspec.Struct) -> None:
    assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda r: type(r).__name__)
def test_every_required_field_is_checked(record: msgspec.Struct) -> None:
    """A field that is missing or of another type is refused."""
    whole = msgspec.to_builtins(record)
    for field in msgspec.structs.fields(type(record)):
        without = {k: v for k, v in whole.items() if k != field.encode_name}
        if field.required:
            with pytest.raises(msgspec.ValidationError):
                msgspec.convert(without, type=type(record))
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**whole, field.encode_name: object}, type=type(record))


def test_provenance_has_three_values() -> None:
    assert typing.get_args(records.Provenance) == ("measured", "emulated", "predicted")


def test_an_unknown_precision_is_refused() -> None:
    whole = msgspec.to_builtins(example(records.BundleRecord))
    with pytest.raises(msgspec.ValidationError, match="fp8"):
        msgspec.convert({**whole, "precision": "fp8"}, type=records.BundleRecord)
