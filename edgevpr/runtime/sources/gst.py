"""Cameras through GStreamer, with PyGObject: decoding and colour conversion in its pipeline.

On a Jetson the pipeline's own elements do that in hardware. Every pipeline ends in an ``appsink``
that holds one frame and drops older ones, so that no queue forms before a slow engine.
"""

import re
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import DataError, TargetError
from edgevpr.redact import redact
from edgevpr.runtime.sources.live import FIRST_FRAME_S, CameraGone, StreamEnded

SINK = "appsink drop=true max-buffers=1 sync=false"
#: The element that gets ``Pipeline.properties``.
SOURCE = "edgevpr_source"

_POLL_NS = 100_000_000
_NVIDIA = re.compile(r"(^|!)\s*nv\w+|memory:NVMM")
#: Pipelines that end by themselves. GStreamer's latency query does not tell: it calls videotestsrc
#: live without is-live, and rtspsrc over TCP not live.
_RECORDING = re.compile(r"filesrc\b|file://|\bnum-buffers=")
_INSTALL = (
    "sudo apt install python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-good and make "
    "the venv with --system-site-packages"
)


@dataclass(frozen=True)
class Pipeline:
    """A pipeline description, and what is set on its source: text that needs no quoting."""

    description: str
    properties: dict[str, object] = field(default_factory=dict)


@cache
def why_not() -> str:
    """Why GStreamer cannot be used here, with what to install; '' when it can."""
    try:
        import gi

        gi.require_version("Gst", "1.0")
        gi.require_version("GstApp", "1.0")
        from gi.repository import Gst

        Gst.init(None)
    except ModuleNotFoundError as error:
        return f"lacks the Python package {error.name}: run {_INSTALL}"
    except (ImportError, ValueError) as error:  # no typelib for it, or a broken build
        return f"{str(error).splitlines()[0]}: run {_INSTALL}"
    return "" if has("appsink") else f"lacks the element appsink: run {_INSTALL}"


def version() -> str:
    """GStreamer's version; only where ``why_not`` is ''."""
    gst = _gst()
    return ".".join(str(part) for part in gst.version()[:3])


def has(element: str) -> bool:
    """Whether GStreamer has an element of this name; only where PyGObject is installed."""
    return _gst().ElementFactory.find(element) is not None


def decodes_h264() -> bool:
    """Whether there is a decoder for H.264, which most network cameras send."""
    gst = _gst()
    factory = gst.ElementFactory
    decoders = factory.list_get_elements(
        gst.ELEMENT_FACTORY_TYPE_DECODER | gst.ELEMENT_FACTORY_TYPE_MEDIA_VIDEO, gst.Rank.MARGINAL
    )
    h264 = gst.Caps.from_string("video/x-h264")
    return bool(factory.list_filter(decoders, h264, gst.PadDirection.SINK, False))


def end(*, nvidia: bool, size: tuple[int, int] | None = None) -> str:
    """The last elements: BGR for OpenCV, scaled before the conversion where ``size`` asks for it.

    Args:
        nvidia: through ``nvvidconv``, which reads a Jetson's video memory. It gives BGRx, so the
            fourth channel is dropped on the CPU.
        size: (height, width) in pixels of the frames, aspect ratio not kept.
    """
    caps = f",width={size[1]},height={size[0]}" if size else ""
    bgr = f"videoconvert ! video/x-raw,format=BGR ! {SINK}"
    if nvidia:
        smooth = " interpolation-method=1" if size else ""
        return f"nvvidconv{smooth} ! video/x-raw,format=BGRx{caps} ! {bgr}"
    scale = f"videoscale method=bilinear2 add-borders=false ! video/x-raw{caps} ! " if size else ""
    return scale + bgr


def described(text: str, size: tuple[int, int] | None = None) -> Pipeline:
    """``gst:PIPELINE``; an appsink for BGR frames is appended when it has none."""
    if re.search(r"(^|!)\s*appsink\b", text):
        return Pipeline(text)
    return Pipeline(f"{text} ! {end(nvidia=bool(_NVIDIA.search(text)), size=size)}")


class GstCapture:
    """A running pipeline as a ``live.Capture``.

    Args:
        pipeline: with one ``appsink``.
        cancelled: set when the frames are not wanted any more; ends every wait here.

    Raises:
        DataError: it cannot be built.
        CameraGone: it gives no first frame, or none in time.
        TargetError: its frames are not BGR, or not in the CPU's memory.
    """

    def __init__(self, pipeline: Pipeline, cancelled: threading.Event) -> None:
        gst = self._gst = _gst()
        self._unwanted = cancelled
        self._recording = _RECORDING.search(pipeline.description) is not None
        self._sample: Any = None
        self._pulled = 0
        #: frames that the appsink dropped so far.
        self.skipped = 0
        try:
            self._pipeline = gst.parse_launch(pipeline.description)
        except _glib_error() as error:
            raise DataError(
                f"found the pipeline {redact(pipeline.description)!r}, which GStreamer cannot "
                f"build ({redact(error.message)}), expected one that runs: try it with "
                "gst-launch-1.0"
            ) from None
        # An element that is freed while it runs crashes the process.
        try:
            self._sink = self._find_sink(pipeline.description)
            for name, value in pipeline.properties.items():
                self._pipeline.get_by_name(SOURCE).set_property(name, value)
            self._bus = self._pipeline.get_bus()
            self._pipeline.set_state(gst.State.PLAYING)
            self._first = self._wait(time.monotonic() + FIRST_FRAME_S)
            if self._first is not None:
                to_bgr(self._first)  # a wrong format is reported before the run starts
        except BaseException:
            self.release()
            raise

    def grab(self) -> bool:
        try:
            self._sample, self._first = self._first or self._wait(None), None
        finally:
            self._count()
        return self._sample is not None

    def retrieve(self) -> tuple[bool, NDArray[np.uint8] | None]:
        """(True, (H, W, 3) uint8 BGR), a copy that is the caller's."""
        if self._sample is None:
            return False, None
        return True, to_bgr(self._sample)

    def release(self) -> None:
        self._sample = self._first = None
        self._pipeline.set_state(self._gst.State.NULL)

    def _wait(self, deadline: float | None) -> Any:
        """The next sample; None when it is not wanted any more."""
        while not self._unwanted.is_set():
            sample = self._sink.try_pull_sample(_POLL_NS)
            if sample is not None:
                return sample
            self._raise_problem(starting=deadline is not None)
            if deadline is not None and time.monotonic() > deadline:
                raise CameraGone(f"gave no frame within {FIRST_FRAME_S:g} s")
        return None

    def _count(self) -> None:
        """Count dropped frames: neither pulled nor, while the stream goes on, waiting."""
        self._pulled += self._sample is not None
        arrived = self._sink.get_property("stats").get_uint64("rendered")[1]
        self.skipped = max(self.skipped, arrived - self._pulled - (self._sample is not None))

    def _raise_problem(self, *, starting: bool) -> None:
        kinds = self._gst.MessageType
        message = self._bus.timed_pop_filtered(0, kinds.ERROR | kinds.EOS)
        if message is not None and message.type == kinds.ERROR:
            error, _ = message.parse_error()
            raise CameraGone(f"stopped ({redact(error.message).rstrip('.')})")
        if message is not None or self._sink.is_eos():
            self._sample = None
            if starting:
                raise CameraGone("ended before its first frame")
            if self._recording:
                raise StreamEnded
            raise CameraGone("was closed by the other side")

    def _find_sink(self, description: str) -> Any:
        sinks = []
        if isinstance(self._pipeline, self._gst.Bin):
            named = self._pipeline.iterate_all_by_element_factory_name("appsink")
            while (found := named.next())[0] == self._gst.IteratorResult.OK:
                sinks.append(found[1])
        if len(sinks) != 1:
            raise DataError(
                f"found {len(sinks)} appsinks in the pipeline {redact(description)!r}, expected "
                "one behind other elements: leave it out, and it is appended"
            )
        return sinks[0]


def to_bgr(sample: Any) -> NDArray[np.uint8]:
    """A sample's (H, W, 3) BGR pixels, copied out of GStreamer's memory.

    Raises:
        TargetError: its frames are not BGR.
    """
    gst = _gst()
    caps = sample.get_caps().get_structure(0)
    if caps.get_name() != "video/x-raw" or caps.get_string("format") != "BGR":
        raise TargetError(
            f"found {caps.get_name()} {caps.get_string('format') or ''} at the pipeline's appsink, "
            "expected BGR: put videoconvert ! video/x-raw,format=BGR before it, or leave it out"
        )
    height, width = caps.get_int("height")[1], caps.get_int("width")[1]
    buffer = sample.get_buffer()
    found, memory = buffer.map(gst.MapFlags.READ)
    if not found:
        raise TargetError(
            "found a GStreamer frame that the CPU cannot read, expected one in its memory: put "
            "nvvidconv before the appsink"
        )
    try:
        data = np.frombuffer(memory.data, np.uint8)
        # Rows are padded, to multiples of four bytes at least.
        rows = data[: data.size // height * height].reshape(height, -1)[:, : 3 * width]
        return np.array(rows, order="C").reshape(height, width, 3)
    finally:
        buffer.unmap(memory)


def _gst() -> Any:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstApp", "1.0")
    from gi.repository import Gst, GstApp  # noqa: F401 - GstApp gives appsink its methods

    return Gst


def _glib_error() -> Any:
    from gi.repository import GLib

    return GLib.Error
