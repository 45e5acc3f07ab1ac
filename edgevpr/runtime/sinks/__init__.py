"""Where answers go, by URI; one kind a file."""

from edgevpr.runtime.sinks.base import PartFile, Several, Sink
from edgevpr.runtime.sinks.lines import CSV_COLUMNS, CsvFile, JsonLinesFile, StandardOutput
from edgevpr.runtime.sinks.mcap_file import McapFile
from edgevpr.runtime.sinks.nmea import NmeaServer
from edgevpr.runtime.sinks.nmea_serial import NmeaSerial
from edgevpr.runtime.sinks.ros2 import Ros2Publisher
from edgevpr.runtime.sinks.uri import open_sink
from edgevpr.runtime.sinks.video import VideoSink

__all__ = [
    "CSV_COLUMNS",
    "CsvFile",
    "JsonLinesFile",
    "McapFile",
    "NmeaSerial",
    "NmeaServer",
    "PartFile",
    "Ros2Publisher",
    "Several",
    "Sink",
    "StandardOutput",
    "VideoSink",
    "open_sink",
]
