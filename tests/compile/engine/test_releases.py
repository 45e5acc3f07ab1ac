"""Every TensorRT name that the builder uses exists in every release that it claims.

The builder cannot run here with TensorRT itself, so its source is read: each attribute that it
takes from a TensorRT object is looked up in the bindings' own listing of each release.
"""

import ast
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from edgevpr.compile.engine import build_progress, builder
from edgevpr.compile.engine.compatibility import check_release
from edgevpr.compile.engine.releases import DIALECTS, Dialect, advice, dialect_of
from edgevpr.errors import TargetError

RELEASES = (
    "tensorrt-8.6", "tensorrt-10.3", "tensorrt-10.7", "tensorrt-10.13", "tensorrt-10.16",
    "tensorrt-11.4", "tensorrt-rtx-1.7",
)  # fmt: skip
#: What the builder calls its objects -> their class in the bindings.
CLASSES = {
    "builder": "Builder", "network": "INetworkDefinition", "parser": "OnnxParser",
    "config": "IBuilderConfig", "layer": "ILayer", "error": "ParserError",
    "cache": "ITimingCache", "runtime": "Runtime", "engine": "ICudaEngine",
    "inspector": "EngineInspector",
}  # fmt: skip
#: Functions that only run where the dialect says so.
ONLY_IF = {
    "_aim": lambda d: d.ahead_of_time,
    "_constrain": lambda d: d.layer_constraints,
    "build_with_progress": lambda d: d.progress,
    "_monitor": lambda d: d.progress,
}


def release(shared: Path, name: str) -> tuple[dict[str, Any], Dialect]:
    listing = json.loads((shared / "tensorrt-api" / f"{name}.json").read_text())
    module = "tensorrt_rtx" if "rtx" in name else "tensorrt"
    return listing["api"], dialect_of(module.replace("_", "-"), listing[module])


def functions() -> dict[str, ast.FunctionDef]:
    trees = [ast.parse(inspect.getsource(module)) for module in (builder, build_progress)]
    return {n.name: n for t in trees for n in t.body if isinstance(n, ast.FunctionDef)}


def used(function: ast.FunctionDef) -> set[tuple[str, str]]:
    """(class or "", name) of every TensorRT attribute in a function."""
    names = set()
    for node in ast.walk(function):
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value
        if isinstance(owner, ast.Name) and owner.id == "trt":
            names.add(("", node.attr))
        elif isinstance(owner, ast.Name) and owner.id in CLASSES:
            names.add((CLASSES[owner.id], node.attr))
        elif (
            isinstance(owner, ast.Attribute)
            and isinstance(owner.value, ast.Name)
            and owner.value.id == "trt"
        ):
            names.add((owner.attr, node.attr))
    return names


@pytest.mark.parametrize("name", RELEASES)
def test_every_name_exists(shared: Path, name: str) -> None:
    api, dialect = release(shared, name)
    wanted = set()
    for function in functions().values():
        if ONLY_IF.get(function.name, lambda _: True)(dialect):
            wanted |= used(function)
    wanted |= {("NetworkDefinitionCreationFlag", flag) for flag in dialect.network_flags}
    for flags in dialect.builder_flags.values():
        wanted |= {("BuilderFlag", flag) for flag in flags}
    wanted -= {("", "__version__")}
    assert len(wanted) > 15, "the walk finds what the builder uses"
    missing = [
        f"{owner}.{attribute}"
        for owner, attribute in sorted(wanted)
        if (attribute not in api if not owner else attribute not in api[owner]["members"])
    ]
    assert missing == []


def test_names_that_a_release_lacks_are_found(shared: Path) -> None:
    """FP16 by flag on release 11, and progress on release 8."""
    eleven, _ = release(shared, "tensorrt-11.4")
    eight, dialect = release(shared, "tensorrt-8.6")
    assert "FP16" not in eleven["BuilderFlag"]["members"]
    assert "IProgressMonitor" not in eight
    assert not dialect.progress
    assert ("IBuilderConfig", "progress_monitor") in used(functions()["build_with_progress"])


def test_progress_is_used_wherever_it_exists(shared: Path) -> None:
    for name in RELEASES:
        api, dialect = release(shared, name)
        assert dialect.progress == ("IProgressMonitor" in api), name


def test_one_dialect_a_release() -> None:
    """Ranges meet without gap or overlap, and an unknown release is refused by name."""
    tensorrt = [d for d in DIALECTS if d.runtime == "tensorrt"]
    assert [d.first for d in tensorrt][1:] == [d.end for d in tensorrt][:-1]
    assert dialect_of("tensorrt", "8.5.2").graph == "flags"
    assert dialect_of("tensorrt", "10.3.0").graph == "typed"
    for version in ("7.2.1", "12.0.0", "rolling"):
        with pytest.raises(TargetError, match=version):
            dialect_of("tensorrt", version)


def test_impossible_pairs_are_refused_with_releases_that_work() -> None:
    """TensorRT 10.13 has no sm_87."""
    with pytest.raises(TargetError, match=r"10\.3.*10\.16"):
        check_release("10.13.3.9", 87)
    check_release("10.13.3.9", 110)
    check_release("10.3.0", 87)


def test_advice_for_known_messages() -> None:
    assert "rtx-ampere" in advice("Cannot compile 'x' for Turing: FP32 GEMM is not supported.")
    assert "--precision" in advice("anything else")
