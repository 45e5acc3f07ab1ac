"""A TensorRT made from the listing of a release's bindings: it has their names and no others.

Objects come from the return types in the listing's signatures. What is taken or set that a release
does not have raises AttributeError, as it would there.
"""

import json
import re
from typing import Any

#: What calls give where their type alone does not say enough: (class, member) -> value.
ANSWERS: dict[tuple[str, str], Any] = {
    ("INetworkDefinition", "num_layers"): 3,
    ("Builder", "num_DLA_cores"): 2,
    ("Builder", "build_serialized_network"): b"a plan",
    ("ITimingCache", "serialize"): b"measured kernels",
    ("ILayer", "name"): "layer",
    ("ILayer", "num_outputs"): 1,
    ("OnnxParser", "num_errors"): 0,
    ("EngineInspector", "get_engine_information"): json.dumps(
        {
            "Layers": [
                {
                    "Name": "conv",
                    "LayerType": "CaskConvolution",
                    "Inputs": [{"Format/Datatype": "Row major linear FP16 format"}],
                },
                {"Name": "part", "LayerType": "DLA", "Inputs": [{"Datatype": "Half"}]},
            ]
        }
    ),
}
#: What overloaded functions return, whose listing has no signature.
OVERLOADED = {("Runtime", "deserialize_cuda_engine"): "ICudaEngine"}


class FakeTensorRT:
    """The module.

    Args:
        api: of the listing.
        version: what it says it is.
        answers: beside, and before, ``ANSWERS``.
    """

    def __init__(
        self, api: dict[str, Any], version: str, answers: dict[tuple[str, str], Any]
    ) -> None:
        self.__version__ = version
        #: (class, member, arguments or value) of all calls and settings, in order.
        self.calls: list[tuple[str, str, Any]] = []
        self._api, self._answers = api, {**ANSWERS, **answers}
        self._classes: dict[str, type] = {}

    def __getattr__(self, name: str) -> type:
        if name not in self._api:
            raise AttributeError(f"TensorRT {self.__version__} has no {name}")
        if name not in self._classes:
            self._classes[name] = self._make(name)
        return self._classes[name]

    def _make(self, name: str) -> type:
        module, members = self, self._api[name]["members"]

        def check(self: object, attribute: str) -> None:
            if attribute not in members:
                raise AttributeError(f"{name} of {module.__version__} has no {attribute}")

        def read(self: object, attribute: str) -> Any:
            check(self, attribute)
            says = members[attribute]
            known = module._answers.get((name, attribute))
            if says == "property":
                return 0 if known is None else known
            return lambda *args: module._call(name, attribute, says, known, args)

        def write(self: object, attribute: str, value: object) -> None:
            if type(self) is module._classes[name]:  # a subclass of ours has its own
                check(self, attribute)
                module.calls.append((name, attribute, value))
            object.__setattr__(self, attribute, value)

        constants = {k: v for k, v in members.items() if isinstance(v, int)}
        made = {"__init__": lambda self, *_: None, "__getattr__": read, "__setattr__": write}
        return type(name, (), {**constants, **made})

    def _call(self, owner: str, name: str, says: str, known: Any, args: tuple[Any, ...]) -> Any:
        self.calls.append((owner, name, args))
        if known is not None:
            return known(*args) if callable(known) else known
        found = re.search(r"-> (?:[a-z0-9]+(?:\.|::))?(\w+)", says)
        kind = found[1] if found else OVERLOADED.get((owner, name), "None")
        kind = {"IEngineInspector": "EngineInspector", "IParserError": "ParserError"}.get(
            kind, kind
        )
        if kind in self._api:
            return getattr(self, kind)()
        return {"bool": True, "int": 0, "str": ""}.get(kind)
