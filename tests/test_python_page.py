"""The examples of docs/python.md, executed on a small bundle and gallery."""

import re
import shutil
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import edgevpr
from tests.runtime.build import PLACES, World, build_world, place_image

PAGE = Path(__file__).parent.parent / "docs" / "python.md"
BLOCK = re.compile(r"(?:<!-- run: (\w+) -->\n)?```python\n(.*?)```", re.DOTALL)
SHOWN = 7


def blocks() -> dict[str, str]:
    return dict(BLOCK.findall(PAGE.read_text()))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("page"))


@pytest.fixture
def folder(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a reader, with the names that the page uses."""
    links = {"BUNDLE": world.bundle, "GALLERY": world.gallery, "FEATURES": world.features,
             "QUERIES": world.drive}  # fmt: skip
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    shutil.copy(world.image(SHOWN), tmp_path / "frame.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **members: object) -> None:
    module = ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


def execute(name: str, **given: object) -> dict[str, Any]:
    names: dict[str, Any] = dict(given)
    exec(compile(blocks()[name], f"docs/python.md: {name}", "exec"), names)
    return names


def test_every_example_is_executed() -> None:
    assert set(blocks()) == {"cell", "near", "node", "service", "figures"}


def test_the_page_names_the_public_names() -> None:
    text = PAGE.read_text()
    missing = [name for name in edgevpr.__all__ if not re.search(rf"\b{name}\b", text)]
    assert not missing
    used = set(re.findall(r"\bedgevpr\.(\w+)", "".join(blocks().values())))
    assert used <= set(edgevpr.__all__)


@pytest.mark.usefixtures("folder")
def test_notebook_cell(capsys: pytest.CaptureFixture[str]) -> None:
    answer = execute("cell")["answer"]
    assert answer.place == SHOWN
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f"{SHOWN} ")


@pytest.mark.usefixtures("folder")
def test_a_moving_prior(capsys: pytest.CaptureFixture[str]) -> None:
    import cv2

    with edgevpr.open_localizer("BUNDLE", "GALLERY") as localizer:
        far = localizer.locate(place_image(20), color="bgr")
        near = localizer.locate(place_image(SHOWN), color="bgr")
    positions = [(far.lat, far.lon), (near.lat, near.lon)]
    execute("near", positions=positions, cv2=cv2, edgevpr=edgevpr)
    first, second = capsys.readouterr().out.split()
    assert int(first) in (19, 20, 21)
    assert int(second) == SHOWN


@pytest.mark.usefixtures("folder")
def test_ros_node(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[SimpleNamespace] = []

    class Node:
        def __init__(self, name: str) -> None:
            self.called: dict[str, Any] = {}

        def create_publisher(self, kind: type, topic: str, depth: int) -> SimpleNamespace:
            return SimpleNamespace(publish=published.append)

        def create_subscription(self, kind: type, topic: str, call: object, depth: int) -> None:
            self.called[topic] = call

    stand_in(monkeypatch, "rclpy", __path__=[])
    stand_in(monkeypatch, "rclpy.node", Node=Node)
    stand_in(monkeypatch, "sensor_msgs", __path__=[])
    stand_in(monkeypatch, "sensor_msgs.msg", Image=object, NavSatFix=SimpleNamespace)
    node = execute("node")["Places"]()
    # The first three frames are judged by nothing, the next by a stand-in.
    for second in range(6):
        if second == 3:
            assert published == [], "without a confidence model nothing is a fix"
            judge = SimpleNamespace(confidence=lambda *found: 0.9, known=lambda confidence: True)
            node.localizer.judge = judge
        image = place_image(SHOWN)
        header = SimpleNamespace(stamp=SimpleNamespace(sec=second, nanosec=500_000_000))
        node.called["image"](
            SimpleNamespace(data=image.tobytes(), height=image.shape[0], width=image.shape[1],
                            encoding="bgr8", header=header)
        )  # fmt: skip
    node.localizer.close()
    assert len(published) == 3
    assert published[0].header.stamp.sec == 3
    with edgevpr.open_localizer("BUNDLE", "GALLERY") as localizer:
        alone = localizer.locate(place_image(SHOWN), color="bgr")
    assert (published[0].latitude, published[0].longitude) == (alone.lat, alone.lon)


@pytest.mark.usefixtures("folder")
def test_web_service(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class HTTPException(Exception):
        pass

    class FastAPI:
        def post(self, path: str) -> Any:
            return lambda handler: handler

    stand_in(monkeypatch, "fastapi", FastAPI=FastAPI, File=lambda: b"", HTTPException=HTTPException)
    names = execute("service")
    answers: dict[int, Any] = {}

    def ask(place: int) -> None:
        answers[place] = names["locate"](world.image(place).read_bytes())["place"]

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(PLACES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {place: place for place in range(PLACES)}
    with pytest.raises(HTTPException, match=r"expected \(H, W, 3\) uint8"):
        names["locate"](b"no image")
    names["engine"].submit(names["localizer"].close).result()
    names["engine"].shutdown()


@pytest.mark.usefixtures("folder")
def test_figures(capsys: pytest.CaptureFixture[str]) -> None:
    names = execute("figures", edgevpr=edgevpr)
    assert names["scores"].shape == names["rows"].shape == (5, 3)
    assert [row.configuration for row in names["record"].rows] == ["cpu-fp32", "cpu-fp32-exact"]
    assert len(capsys.readouterr().out.splitlines()) == 3
