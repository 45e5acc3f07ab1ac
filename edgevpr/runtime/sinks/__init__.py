"""Where answers go, by URI; one kind a file."""

from edgevpr.runtime.sinks.base import PartFile, Several, Sink
from edgevpr.runtime.sinks.lines import CSV_COLUMNS, CsvFile, JsonLinesFile, StandardOutput
from edgevpr.runtime.sinks.nmea import NmeaServer
from edgevpr.runtime.sinks.uri import open_sink

__all__ = [
    "CSV_COLUMNS",
    "CsvFile",
    "JsonLinesFile",
    "NmeaServer",
    "PartFile",
    "Several",
    "Sink",
    "StandardOutput",
    "open_sink",
]
