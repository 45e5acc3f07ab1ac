"""The cache: entries come back whole or are made anew."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

import edgevpr
from edgevpr.compile import cache as module
from edgevpr.compile.cache import Cache, array_digest, graph_digest


class Count(msgspec.Struct):
    value: int


def made_of(cache: Cache, tmp_path: Path, value: int, key: dict[str, int]) -> int:
    into = tmp_path / f"into-{len(list(tmp_path.iterdir()))}"
    return cache.record("count", key, Count, lambda: Count(value), into).value


def test_the_same_key_is_not_made_again(tmp_path: Path) -> None:
    """Another option does not find this entry."""
    cache = Cache(tmp_path / "cache")
    assert made_of(cache, tmp_path, 1, {"a": 1}) == 1
    assert made_of(cache, tmp_path, 2, {"a": 1}) == 1
    assert cache.found == ["count"]
    assert made_of(cache, tmp_path, 3, {"a": 2}) == 3


def test_another_version_of_the_code_finds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")
    made_of(cache, tmp_path, 1, {"a": 1})
    monkeypatch.setattr(module, "code_digest", lambda: "other")
    assert made_of(cache, tmp_path, 2, {"a": 1}) == 2


def test_another_version_of_a_package_finds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")
    made_of(cache, tmp_path, 1, {"a": 1})
    assert {"faiss-cpu", "numpy", "onnx", "onnxruntime"} <= module.versions().keys()
    other = module.versions() | {"faiss-cpu": "0.1"}
    monkeypatch.setattr(module, "versions", lambda: other)
    assert made_of(cache, tmp_path, 2, {"a": 1}) == 2


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this package's code and device profiles."""
    source, copy = Path(edgevpr.__file__).parent, tmp_path_factory.mktemp("code") / "edgevpr"
    for file in (f for end in ("py", "toml") for f in source.rglob(f"*.{end}")):
        (copy / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy / file.relative_to(source))
    return copy


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("runtime/gallery/gallery.py", True),
        ("retrieval/recall.py", True),
        ("train/networks/export.py", True),
        ("compile/auto/search.py", True),
        ("profiles/devices/cpu.toml", True),
        ("cli/compile.py", False),
        ("city/dataset.py", False),
    ],
)
def test_code_that_takes_part_is_in_the_key(package: Path, name: str, counts: bool) -> None:
    """``auto`` searches with the runtime's gallery; the command line changes no result."""
    code_digest = module.code_digest.__wrapped__
    before, content = code_digest(package), (package / name).read_bytes()
    assert before == module.code_digest()
    (package / name).write_bytes(content + b"#")
    assert (code_digest(package) != before) == counts
    (package / name).write_bytes(content)


def test_every_module_that_compile_imports_is_in_the_key() -> None:
    """No module imported by a compilation lies in a room outside the key."""
    program = (
        "import sys; import edgevpr.compile.pipeline, edgevpr.train.networks.export;"
        "print(*(n for n in sys.modules if n.startswith('edgevpr.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    rooms = {name.split(".")[1] for name in done.stdout.split()}
    assert "runtime" in rooms
    assert not rooms & set(module.NOT_IN_KEY)


@pytest.mark.parametrize("damage", ["flip", "truncate", "unlist"])
def test_a_damaged_entry_is_made_anew(tmp_path: Path, damage: str) -> None:
    """The next run replaces an entry with a flipped bit or a lost file."""
    cache = Cache(tmp_path / "cache")
    made_of(cache, tmp_path, 1, {"a": 1})
    (entry,) = (tmp_path / "cache" / "count").iterdir()
    file = entry / ("entry.json" if damage == "unlist" else "record.json")
    data = file.read_bytes()
    file.write_bytes(data[:3] if damage != "flip" else bytes([data[0] ^ 1]) + data[1:])
    assert made_of(cache, tmp_path, 2, {"a": 1}) == 2
    assert made_of(cache, tmp_path, 3, {"a": 1}) == 2


def test_without_a_folder_everything_is_made(tmp_path: Path) -> None:
    cache = Cache(None)
    assert [made_of(cache, tmp_path, value, {"a": 1}) for value in (1, 2)] == [1, 2]


def test_a_folder_that_cannot_be_written_is_as_none(tmp_path: Path) -> None:
    """A full or read-only disk below the cache must not fail a compilation."""
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "cache")
    assert [made_of(cache, tmp_path, value, {"a": 1}) for value in (1, 2)] == [1, 2]


def test_graphs_and_arrays_come_back(clean: onnx.ModelProto, tmp_path: Path) -> None:
    """The first run and the cached one continue from the same bytes."""
    cache = Cache(tmp_path / "cache")
    graphs = [cache.graph("g", {}, lambda: clean, tmp_path / f"g{i}") for i in range(2)]
    assert graph_digest(graphs[0]) == graph_digest(graphs[1]) == graph_digest(clean)
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays = [cache.array("a", {}, lambda: values, tmp_path / f"a{i}") for i in range(2)]
    assert {array_digest(a) for a in arrays} == {array_digest(values)}
    assert array_digest(values) != array_digest(values.reshape(3, 2))


def test_what_was_not_used_for_longest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the limit, entries unused for longest are removed."""
    cache = Cache(tmp_path / "cache")
    made_of(cache, tmp_path, 1, {"a": 1})
    made_of(cache, tmp_path, 2, {"a": 2})
    for age, stamp in enumerate(sorted((tmp_path / "cache").glob("*/*/entry.json"))):
        os.utime(stamp, (1000 + age, 1000 + age))
    made_of(cache, tmp_path, 9, {"a": 1})  # a hit makes it the younger of the two
    one = sum(f.stat().st_size for f in next((tmp_path / "cache" / "count").iterdir()).iterdir())
    monkeypatch.setattr(module, "LIMIT", 2 * one + one // 2)
    made_of(cache, tmp_path, 3, {"a": 3})
    assert made_of(cache, tmp_path, 9, {"a": 1}) == 1
    assert made_of(cache, tmp_path, 9, {"a": 3}) == 3
    assert made_of(cache, tmp_path, 9, {"a": 2}) == 9
