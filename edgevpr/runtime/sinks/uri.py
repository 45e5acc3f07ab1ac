"""Sinks by URI."""

import math
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from edgevpr.errors import UsageError
from edgevpr.runtime.sinks.base import Sink
from edgevpr.runtime.sinks.lines import CsvFile
from edgevpr.runtime.sinks.mcap_file import McapFile
from edgevpr.runtime.sinks.nmea import NmeaOptions, NmeaServer
from edgevpr.runtime.sinks.nmea_serial import BAUD, NmeaSerial
from edgevpr.runtime.sinks.position import FixRule
from edgevpr.runtime.sinks.ros2 import Ros2Publisher
from edgevpr.runtime.sinks.ros_messages import RosOptions
from edgevpr.runtime.sinks.video import VideoSink

OpenedSink = AbstractContextManager[Sink]


@dataclass(frozen=True)
class SinkAddress:
    """The parts of ``kind:[//][host[:port]][path][?option=value&...]``."""

    uri: str
    #: what stands between the kind and the options: a file, a device.
    path: str
    host: str
    port: int | None
    options: dict[str, str]
    #: what the run reads, which no file may replace.
    inputs: Sequence[Path | str] = ()
    #: take answers that nothing judged as known.
    assume_known: bool = False

    def number(self, option: str, default: float) -> float:
        if option not in self.options:
            return default
        value = float(self.options[option])
        if not math.isfinite(value):
            raise ValueError(f"{option}={value:g} is no finite number")
        return value

    def rule(self) -> FixRule:
        score = self.number("min_score", 0.0)
        if not -1 <= score <= 1:
            raise ValueError(f"min_score={score:g} is no cosine similarity, -1 to 1")
        return FixRule(score, self.assume_known)


def _csv(at: SinkAddress) -> OpenedSink:
    return CsvFile(Path(at.path), inputs=at.inputs, name="sink")


def _nmea_tcp(at: SinkAddress) -> OpenedSink:
    if at.port is None:
        raise ValueError("no port")
    return NmeaServer(at.host or "127.0.0.1", at.port, _nmea_options(at))


def _mcap(at: SinkAddress) -> OpenedSink:
    return McapFile(Path(at.path), _ros_options(at), inputs=at.inputs)


def _nmea_serial(at: SinkAddress) -> OpenedSink:
    return NmeaSerial(at.path, int(at.options.get("baud", BAUD)), _nmea_options(at))


def _ros2(at: SinkAddress) -> OpenedSink:
    return Ros2Publisher(at.path, _ros_options(at))


def _video(at: SinkAddress) -> OpenedSink:
    fps = at.number("fps", 0) if "fps" in at.options else None
    if fps is not None and not 1 <= fps <= 240:
        raise ValueError(f"fps={fps:g} is not within 1 to 240")
    images = None
    if "images" in at.options:
        images = Path(os.path.expanduser(at.options["images"]))  # noqa: PTH111
    if images is not None and not images.is_dir():
        raise ValueError(f"no folder at images={images}")
    return VideoSink(Path(at.path), fps=fps, images=images, rule=at.rule(), inputs=at.inputs)


def _nmea_options(at: SinkAddress) -> NmeaOptions:
    return NmeaOptions(
        at.rule(),
        satellites=int(at.options.get("satellites", 0)),
        altitude=at.number("altitude", 0.0) if "altitude" in at.options else None,
        hdop=at.number("hdop", NmeaOptions.hdop),
    )


def _ros_options(at: SinkAddress) -> RosOptions:
    origin = None
    if "origin" in at.options:
        lat, lon = (float(part) for part in at.options["origin"].split(","))
        if not (abs(lat) <= 90 and abs(lon) <= 180):
            raise ValueError(f"origin={lat:g},{lon:g} is not LAT,LON in degrees")
        origin = (lat, lon)
    return RosOptions(
        frame_id=at.options.get("frame_id", "camera"),
        rule=at.rule(),
        origin=origin,
        altitude=at.number("altitude", math.nan),
    )


@dataclass(frozen=True)
class SinkKind:
    """One kind of sink: usage, options, and the function that opens it."""

    usage: str
    open: Callable[[SinkAddress], OpenedSink]
    options: tuple[str, ...] = ()
    needs_path: bool = True
    #: whether it tells answers that are fixes from others.
    gives_fixes: bool = True


_NMEA = ("min_score", "satellites", "altitude", "hdop")
_ROS = ("frame_id", "min_score", "origin", "altitude")
KINDS = {
    "csv": SinkKind("csv:FILE", _csv, gives_fixes=False),
    "mcap": SinkKind("mcap:FILE[?origin=LAT,LON]", _mcap, _ROS),
    "video": SinkKind(
        "video:FILE.mp4[?images=FOLDER&fps=R]", _video, ("images", "fps", "min_score")
    ),
    "nmea-tcp": SinkKind(
        "nmea-tcp://HOST:PORT[?satellites=N&altitude=M&hdop=H]", _nmea_tcp, _NMEA, needs_path=False
    ),
    "nmea-serial": SinkKind(
        "nmea-serial:/dev/ttyX[?baud=B&satellites=N&altitude=M&hdop=H]",
        _nmea_serial,
        ("baud", *_NMEA),
    ),
    "ros2": SinkKind("ros2:[/NAMESPACE][?origin=LAT,LON]", _ros2, _ROS, needs_path=False),
}


def gives_fixes(sink: str) -> bool:
    """Whether the sink of this URI tells fixes from other answers."""
    kind = KINDS.get(sink.partition(":")[0])
    return kind is not None and kind.gives_fixes


def open_sink(
    sink: str, *, inputs: Sequence[Path | str] = (), assume_known: bool = False
) -> OpenedSink:
    """The sink for a URI of one of ``KINDS``.

    ``nmea-tcp`` serves on loopback unless a host is named.

    Args:
        inputs: what the run reads: a file among them, or in an artifact among them, is not
            written over.
        assume_known: take answers that nothing judged, because the gallery has no confidence
            model, as known. Without it they are no fixes.

    Raises:
        UsageError: another kind, an option it does not have, a value that is none, or an input.
        ResourceError: the port or the device cannot be opened.
    """
    name = sink.partition(":")[0]
    kind = KINDS.get(name)
    if kind is None:
        usages = ", ".join(each.usage for each in KINDS.values())
        raise UsageError(f"found `sink` {sink}, expected {usages}: correct it")
    try:
        at = replace(_address(sink), inputs=inputs, assume_known=assume_known)
        unknown = sorted(set(at.options) - set(kind.options))
        if unknown:
            raise ValueError(f"no option {unknown[0]!r}")
        if kind.needs_path and not at.path:
            raise ValueError("nothing after the colon")
        return kind.open(at)
    except ValueError as error:
        raise UsageError(
            f"found `sink` {sink} ({error}), expected {kind.usage}: correct it"
        ) from error


def _address(uri: str) -> SinkAddress:
    rest = uri.partition(":")[2]
    parts = urlsplit(uri)
    path, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    # A shell expands ~ at the start of a word only.
    path = os.path.expanduser(path.removeprefix("//"))  # noqa: PTH111 - unknown users stay
    return SinkAddress(uri, path, parts.hostname or "", parts.port, options)
