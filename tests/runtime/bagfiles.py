"""Bags of camera images for the tests, written by libraries that are not the reader's own path."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mcap_ros2.writer import Writer as McapWriter
from numpy.typing import NDArray
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_JAZZY)
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
START = 1_700_000_000


def header(second: float, frame_id: str = "camera") -> Any:
    sec = int(second)
    stamp = TYPES.types["builtin_interfaces/msg/Time"](sec=sec, nanosec=round((second - sec) * 1e9))
    return TYPES.types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)


def raw(
    data: NDArray[Any], encoding: str, at: float = 0, *, step: int | None = None, big: int = 0
) -> Any:
    """sensor_msgs/Image of an (H, W[, C]) array, rows padded to ``step`` bytes."""
    height, width = data.shape[:2]
    rows = np.frombuffer(data.tobytes(), np.uint8).reshape(height, -1)
    step = step or rows.shape[1]
    padded = np.full((height, step), 255, np.uint8)
    padded[:, : rows.shape[1]] = rows
    return TYPES.types[IMAGE](
        header=header(at), height=height, width=width, encoding=encoding, is_bigendian=big,
        step=step, data=padded.reshape(-1),
    )  # fmt: skip


def jpeg(image: NDArray[np.uint8], at: float = 0, suffix: str = ".jpg") -> Any:
    """sensor_msgs/CompressedImage."""
    _, data = cv2.imencode(suffix, image)
    return TYPES.types[COMPRESSED](header=header(at), format=suffix[1:], data=data.reshape(-1))


#: (topic, message, seconds after START when it was recorded)
Recorded = Sequence[tuple[str, Any, float]]


def rosbag2(
    folder: Path,
    messages: Recorded,
    storage: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
) -> Path:
    """A rosbag2 folder with metadata.yaml."""
    writer = Writer(folder, version=9, storage_plugin=storage)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        topics: dict[str, Any] = {}
        for topic, message, at in messages:
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, message.__msgtype__, typestore=TYPES)
            data = TYPES.serialize_cdr(message, message.__msgtype__)
            writer.write(topics[topic], round((START + at) * 1e9), data)
    return folder


def mcap(path: Path, messages: Recorded, *, end: bool = True, profile: str = "ros2") -> Path:
    """One MCAP file in small chunks; without its end, as a recorder leaves it that was killed."""
    with path.open("wb") as stream:
        writer = McapWriter(stream, chunk_size=1)
        if profile != "ros2":
            stream.seek(0)
            writer._writer.start(profile)
        schemas: dict[str, Any] = {}
        for topic, message, at in messages:
            kind = message.__msgtype__
            if kind not in schemas:
                definition, _ = TYPES.generate_msgdef(kind, ros_version=2)
                schemas[kind] = writer.register_msgdef(kind, definition)
            if isinstance(message.data, np.ndarray):
                message = replace(message, data=message.data.tobytes())
            writer.write_message(topic, schemas[kind], message, round((START + at) * 1e9))
        if end:
            writer.finish()
    return path
