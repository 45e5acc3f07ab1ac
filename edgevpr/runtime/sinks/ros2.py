"""Publisher of answers on ROS 2 topics, through rclpy."""

import importlib
from types import TracebackType
from typing import Any

from edgevpr.errors import TargetError, UsageError
from edgevpr.runtime.answers import Answer, FrameError
from edgevpr.runtime.sinks.ros_messages import DIAGNOSTICS, FIX, POSE, RosMessages, RosOptions
from edgevpr.runtime.sources.frames import Frame

#: Messages kept for a slow subscriber; older ones are dropped.
DEPTH = 10


class Ros2Publisher:
    """A node ``edgevpr`` that publishes ``~/fix``, ``~/pose`` and ``/diagnostics``.

    Args:
        namespace: of the node; ``/robot1`` gives ``/robot1/edgevpr/fix``.

    Raises:
        TargetError: rclpy or ROS's messages cannot be imported by this Python.
        UsageError: a namespace that ROS does not take.
    """

    def __init__(self, namespace: str = "", options: RosOptions | None = None) -> None:
        self._namespace = namespace
        self._rclpy: Any = _import("rclpy")
        self._messages = RosMessages(_message_class, options or RosOptions(), _octet)
        for kind in (FIX, POSE, DIAGNOSTICS):
            _message_class(kind)

    def __enter__(self) -> "Ros2Publisher":
        # A context of its own: for the default one rclpy takes over Ctrl-C.
        self._context: Any = _import("rclpy.context").Context()
        self._rclpy.init(args=[], context=self._context)
        try:
            self._node: Any = self._rclpy.create_node(
                "edgevpr", namespace=self._namespace, context=self._context
            )
        except Exception as error:
            self._rclpy.shutdown(context=self._context)
            raise UsageError(
                f"found the namespace {self._namespace!r}, which ROS 2 refuses ({error}), expected "
                "'ros2:' or 'ros2:/NAMESPACE': correct it"
            ) from error
        self._fix = self._node.create_publisher(_message_class(FIX), "~/fix", DEPTH)
        self._pose = self._node.create_publisher(_message_class(POSE), "~/pose", DEPTH)
        self._diagnostics = self._node.create_publisher(
            _message_class(DIAGNOSTICS), "/diagnostics", DEPTH
        )
        return self

    def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
        stamp = self._messages.stamp(answer)
        self._fix.publish(self._messages.fix(answer, stamp))
        pose = self._messages.pose(answer, stamp)
        if pose is not None:
            self._pose.publish(pose)
        self._diagnostics.publish(self._messages.diagnostics(answer, stamp))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._node.destroy_node()
        self._rclpy.shutdown(context=self._context)


def _message_class(name: str) -> Any:
    """``sensor_msgs/msg/NavSatFix`` -> rclpy's class."""
    package, _, kind = name.split("/")
    return getattr(_import(f"{package}.msg"), kind)


def _octet(level: int) -> bytes:
    return bytes([level])


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise TargetError(
            f"found no {module} that this Python imports ({error}), expected that of ROS 2 for the "
            "sink 'ros2:': source /opt/ros/DISTRO/setup.bash and install edgevpr for ROS's own "
            "Python, or write a bag with the sink mcap:FILE.mcap"
        ) from error
