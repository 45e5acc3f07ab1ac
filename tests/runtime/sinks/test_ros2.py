"""The ROS 2 sink: wired to a small rclpy, its messages those of ROS's own definitions."""

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rosbags.typesys import Stores, get_typestore

from edgevpr.errors import TargetError, UsageError
from edgevpr.runtime.sinks import open_sink

from ..answers import LAT, UNREADABLE, answer

TYPES = get_typestore(Stores.ROS2_JAZZY)
KINDS = (
    "sensor_msgs/msg/NavSatFix",
    "sensor_msgs/msg/NavSatStatus",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "geometry_msgs/msg/PoseWithCovariance",
    "geometry_msgs/msg/Pose",
    "geometry_msgs/msg/Point",
    "geometry_msgs/msg/Quaternion",
    "diagnostic_msgs/msg/DiagnosticArray",
    "diagnostic_msgs/msg/KeyValue",
    "std_msgs/msg/Header",
    "builtin_interfaces/msg/Time",
)


@dataclass
class Ros:
    """What a small rclpy saw."""

    calls: list[str] = field(default_factory=list)
    published: list[tuple[str, Any]] = field(default_factory=list)


def status(level: bytes, **fields: Any) -> Any:
    """rclpy takes a byte as bytes of length one, and nothing else."""
    assert isinstance(level, bytes)
    assert len(level) == 1
    return TYPES.types["diagnostic_msgs/msg/DiagnosticStatus"](level=level[0], **fields)


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch) -> Ros:
    """An rclpy and message packages that behave as ROS's do: contexts, nodes, typed publishers."""
    seen = Ros()
    packages: dict[str, ModuleType] = {}
    for kind in KINDS:
        package, _, name = kind.split("/")
        module = packages.setdefault(f"{package}.msg", ModuleType(f"{package}.msg"))
        setattr(module, name, TYPES.types[kind])
    packages["diagnostic_msgs.msg"].DiagnosticStatus = status
    for name, module in packages.items():
        monkeypatch.setitem(sys.modules, name.removesuffix(".msg"), ModuleType(name))
        monkeypatch.setitem(sys.modules, name, module)

    class Node:
        def __init__(self, name: str, *, namespace: str, context: Any) -> None:
            if " " in namespace:
                raise ValueError("Invalid namespace")
            assert context.ok
            self.context = context
            seen.calls.append(f"node {namespace}/{name}")

        def create_publisher(self, kind: type, topic: str, depth: int) -> Any:
            assert depth > 0

            def publish(message: Any) -> None:
                assert self.context.ok
                assert type(message) is kind
                # Every field has the type and the length of its definition.
                TYPES.serialize_cdr(message, message.__msgtype__)
                seen.published.append((topic, message))

            return SimpleNamespace(publish=publish)

        def destroy_node(self) -> None:
            seen.calls.append("destroy")

    def init(*, args: list[str], context: Any) -> None:
        assert args == []
        context.ok = True
        seen.calls.append("init")

    def shutdown(*, context: Any) -> None:
        context.ok = False
        seen.calls.append("shutdown")

    rclpy, context = ModuleType("rclpy"), ModuleType("rclpy.context")
    rclpy.init, rclpy.shutdown, rclpy.create_node = init, shutdown, Node
    context.Context = lambda: SimpleNamespace(ok=False)
    monkeypatch.setitem(sys.modules, "rclpy", rclpy)
    monkeypatch.setitem(sys.modules, "rclpy.context", context)
    return seen


def test_answers_on_their_topics(ros: Ros) -> None:
    """Topics, types and fields are ROS's; the node is destroyed at the end."""
    with open_sink(f"ros2:/robot1?origin={LAT},11.5&min_score=0.5") as sink:
        sink.write(answer(0.9, confidence=0.8, known=True))
        sink.write(answer(0.9, known=False))
        sink.write(UNREADABLE)
    assert ros.calls == ["init", "node /robot1/edgevpr", "destroy", "shutdown"]
    topics = [topic for topic, _ in ros.published]
    assert topics == ["~/fix", "~/pose", *["/diagnostics", "~/fix"] * 2, "/diagnostics"]
    fix, pose, first, lost, second, *_ = (message for _, message in ros.published)
    assert (fix.status.status, fix.latitude) == (0, LAT)
    assert pose.header.frame_id == "map"
    assert pose.pose.pose.position.x == pytest.approx(1240, abs=5)
    assert (first.status[0].level, second.status[0].level) == (0, 1)
    assert lost.status.status == -1


def test_closed_after_an_error(ros: Ros) -> None:
    """The context is shut down after a failed run and a refused namespace."""

    def run() -> None:
        with open_sink("ros2:") as sink:
            sink.write(answer())
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run()
    assert ros.calls[-2:] == ["destroy", "shutdown"]
    with (
        pytest.raises(UsageError, match="expected 'ros2:' or 'ros2:/NAMESPACE'"),
        open_sink("ros2:a b"),
    ):
        pass
    assert ros.calls[-1] == "shutdown"
    with pytest.raises(UsageError, match="origin=95,0 is not LAT,LON"):
        open_sink("ros2:?origin=95,0")


def test_without_ros(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names how ROS is sourced, and the bag as a way without it."""
    monkeypatch.setitem(sys.modules, "rclpy", None)
    with pytest.raises(TargetError, match=r"found no rclpy .*source /opt/ros/DISTRO/setup.bash"):
        open_sink("ros2:")
