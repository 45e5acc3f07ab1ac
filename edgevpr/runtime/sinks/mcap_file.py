"""Writer of answers to an MCAP bag without ROS, for Foxglove, ``ros2 bag`` and ``edgevpr``."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgevpr.optional import require
from edgevpr.runtime.answers import Answer, FrameError
from edgevpr.runtime.sinks.base import PartFile, WholeRecords
from edgevpr.runtime.sinks.ros_messages import DIAGNOSTICS, FIX, POSE, RosMessages, RosOptions
from edgevpr.runtime.sources.frames import Frame

#: topic -> message type.
TOPICS = {"/edgevpr/fix": FIX, "/edgevpr/pose": POSE, "/diagnostics": DIAGNOSTICS}
#: Seconds of answers that a power cut loses at most.
FLUSH_S = 1.0
_CHUNK_BYTES = 1 << 18


class McapFile(PartFile):
    """NavSatFix, PoseWithCovarianceStamped and DiagnosticArray for every answer.

    The part file, also one of a full disk, holds whole chunks: it is read as far as it goes.

    Raises:
        MissingExtraError: without ``mcap`` or ``rosbags``.
    """

    def __init__(
        self, path: Path, options: RosOptions | None = None, *, inputs: Iterable[Path | str] = ()
    ) -> None:
        super().__init__(path, inputs=inputs, name="sink")
        self._mcap = require("mcap.writer", extra="bags")
        typesys = require("rosbags.typesys", extra="bags")
        self._types = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
        self._messages = RosMessages(self._types.types.__getitem__, options or RosOptions())

    def open(self) -> None:
        self._broken = False
        self._flushed = time.monotonic()
        self._stream = WholeRecords(self.stream(), self.part)
        self._writer: Any = self._mcap.Writer(self._stream, chunk_size=_CHUNK_BYTES)
        self._writer.start(profile="ros2", library="edgevpr")
        self._channels = {topic: self._register(topic, kind) for topic, kind in TOPICS.items()}

    def _register(self, topic: str, kind: str) -> int:
        definition, _ = self._types.generate_msgdef(kind, ros_version=2)
        schema = self._writer.register_schema(kind, "ros2msg", definition.encode())
        # Names that rosbag2 gives them.
        described = {"offered_qos_profiles": "", "topic_type_hash": self._types.hash_rihs01(kind)}
        return int(self._writer.register_channel(topic, "cdr", schema, described))

    def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
        stamp = self._messages.stamp(answer)
        for topic, message in (
            ("/edgevpr/fix", self._messages.fix(answer, stamp)),
            ("/edgevpr/pose", self._messages.pose(answer, stamp)),
            ("/diagnostics", self._messages.diagnostics(answer, stamp)),
        ):
            if message is not None:
                data = self._types.serialize_cdr(message, TOPICS[topic])
                self._guard(
                    self._writer.add_message, self._channels[topic], stamp, bytes(data), stamp
                )
        if time.monotonic() - self._flushed >= FLUSH_S:
            self._guard(self._writer.flush)
            self._flushed = time.monotonic()

    def _guard(self, call: Any, *args: object) -> None:
        try:
            call(*args)
        except OSError:
            # The disk takes no more: neither index nor end is written.
            self._broken = True
            raise

    def close(self) -> None:
        try:
            if not self._broken:
                self._guard(self._writer.finish)
        finally:
            self._stream.close()
