"""Sinks: where answers go.

::

    base                         the ``Sink`` protocol, several sinks as one, part files
    uri                          the sink for a URI
    lines                        JSON lines on stdout or in a file, CSV
    video, annotate              annotated video
    mcap_file, ros2              ROS 2 messages in a bag, or published
    nmea, nmea_serial            fixes of a GPS receiver over TCP, over a serial line
    position, ros_messages       an answer as a fix with its covariance, as ROS 2 messages
"""

from edgevpr.runtime.sinks.base import PartFile, Sink, SinkGroup
from edgevpr.runtime.sinks.lines import CSV_COLUMNS, CsvFile, JsonLinesFile, StandardOutput
from edgevpr.runtime.sinks.mcap_file import McapFile
from edgevpr.runtime.sinks.nmea import NmeaOptions, NmeaServer
from edgevpr.runtime.sinks.nmea_serial import NmeaSerial
from edgevpr.runtime.sinks.position import FixRule
from edgevpr.runtime.sinks.ros2 import Ros2Publisher
from edgevpr.runtime.sinks.uri import gives_fixes, open_sink
from edgevpr.runtime.sinks.video import VideoSink

__all__ = [
    "CSV_COLUMNS",
    "CsvFile",
    "FixRule",
    "JsonLinesFile",
    "McapFile",
    "NmeaOptions",
    "NmeaSerial",
    "NmeaServer",
    "PartFile",
    "Ros2Publisher",
    "Sink",
    "SinkGroup",
    "StandardOutput",
    "VideoSink",
    "gives_fixes",
    "open_sink",
]
