"""Live cameras by address, opened with GStreamer where it is installed, else with OpenCV."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs

from edgevpr.errors import DataError, TargetError, UsageError
from edgevpr.preprocess import Preprocess
from edgevpr.redact import redact, redact_address
from edgevpr.runtime.sources import gst
from edgevpr.runtime.sources.live import CameraGone, LiveSource, Open, ReconnectPolicy

#: First characters of a live camera's address, in small letters; a bare number is
#: ``/dev/videoN``.
PREFIXES = ("v4l2://", "rtsp://", "rtsps://", "csi://", "gst:")

Backend = Literal["auto", "opencv", "gstreamer"]

#: GStreamer's source element for each kind of camera.
ELEMENTS = {
    "v4l2": "v4l2src",
    "rtsp": "rtspsrc",
    "rtsps": "rtspsrc",
    "csi": "nvarguscamerasrc",
    "gst": "appsink",
}


@dataclass(frozen=True)
class CameraOptions:
    """How live cameras are opened and kept open."""

    backend: Backend = "auto"
    reconnect: ReconnectPolicy = field(default_factory=ReconnectPolicy)
    #: (height, width) that the GStreamer pipeline scales to; the camera's own size without it.
    pipeline_scale: tuple[int, int] | None = None
    #: called with a sentence when a camera goes, for each failed attempt, and when it is back.
    notify: Callable[[str], None] = lambda _: None


def scaled_for(preprocess: Preprocess) -> tuple[int, int]:
    """``CameraOptions.pipeline_scale`` for a network: (height, width), twice its input.

    The last halving stays with ``Preprocess.resize``: a pipeline's filters are not the one that
    the network was trained with, and what they do differently is mostly gone at half the size.
    """
    return 2 * preprocess.height, 2 * preprocess.width


@dataclass(frozen=True)
class _Address:
    #: for messages and answers, without its passwords.
    name: str
    kind: str
    #: device, sensor number, URL or pipeline.
    where: str
    #: width, height, fps asked of a local camera.
    mode: dict[str, int]


def open_camera(uri: str, options: CameraOptions | None = None) -> LiveSource:
    """A camera by number or address.

    ``/dev/videoN``, ``v4l2:///dev/videoN``, ``csi://N``, ``rtsp://...`` or ``gst:PIPELINE``. Local
    cameras take a mode: ``v4l2:///dev/video0?width=1280&height=720&fps=30``.

    Raises:
        DataError: there is no such camera, it does not answer, or the address is wrong.
        TargetError: the backend is not installed, or nothing here opens such an address.
        UsageError: the pipeline was to scale, and there is none.
    """
    options = options or CameraOptions()
    address = _parse(uri)
    reopen = _opener(address, options)
    try:
        capture = reopen(threading.Event())
    except CameraGone as problem:
        raise DataError(
            f"found that the camera {address.name} {problem}, expected a device of this user's or "
            "a stream that answers: check the cable or address, and that no other program holds it"
        ) from None
    return LiveSource(
        capture, address.name, reopen=reopen, reconnect=options.reconnect, notify=options.notify
    )


def _parse(uri: str) -> _Address:
    scheme, _, rest = uri.partition(":")
    name, scheme = redact_address(uri), scheme.lower()
    if scheme == "gst":
        return _Address(name, "gst", rest, {})
    if scheme in ("rtsp", "rtsps"):
        return _Address(name, scheme, f"{scheme}:{rest}", {})
    plain, _, query = uri.partition("?")
    asked = {key: values[-1] for key, values in parse_qs(query, keep_blank_values=True).items()}
    wrong = [f"{k}={v}" for k, v in asked.items() if k not in _MODE or not _is_number(v)]
    if wrong:
        raise DataError(
            f"found {redact(wrong[0])} in the address {name}, expected whole numbers for "
            f"{', '.join(_MODE)}: correct it"
        )
    mode = {key: int(value) for key, value in asked.items()}
    if scheme == "csi":
        sensor = plain[len("csi://") :]
        if not _is_number(sensor):
            raise DataError(f"found the address {name}, expected csi:// and a number: pass csi://0")
        return _Address(name, "csi", sensor, mode)
    if scheme == "v4l2":
        plain = plain[len("v4l2://") :]
    device = f"/dev/video{int(plain)}" if _is_number(plain) else plain
    return _Address(name, "v4l2", device, mode)


def is_camera(uri: str) -> bool:
    """Whether a source that is no path is a live camera's address, in any case of letters."""
    return _is_number(uri) or uri.lower().startswith((*PREFIXES, "/dev/video", "/dev/v4l/"))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


_MODE = ("width", "height", "fps")


def _opener(address: _Address, options: CameraOptions) -> Open:
    """The function that opens the camera, the first time and after it has gone."""
    no_gst = gst.why_not() or lacks(address.kind)
    if options.backend == "gstreamer" and no_gst:
        raise TargetError(
            f"found `backend` gstreamer, expected a GStreamer that opens {address.name}: the one "
            f"here {no_gst}, or leave out `backend`"
        )
    if options.backend == "auto" and address.kind.startswith("rtsp") and not no_gst:
        no_gst = lacks_decoder()
    if options.backend != "opencv" and not no_gst:
        pipeline = _pipeline(address, options.pipeline_scale)
        return lambda cancelled: gst.GstCapture(pipeline, cancelled)
    if address.kind in ("gst", "csi"):
        return _opencv_pipeline(address, options, no_gst)
    if options.pipeline_scale:
        reason = f"GStreamer {no_gst}" if no_gst else "`backend` is opencv"
        raise UsageError(
            f"found `pipeline_scale` with OpenCV ({reason}), expected GStreamer: leave out "
            "`pipeline_scale`"
        )
    return lambda _: _opencv(address)


def lacks(kind: str) -> str:
    """The element GStreamer lacks for a kind of camera, or ''; where ``gst.why_not`` is ''."""
    element = ELEMENTS[kind]
    if gst.has(element):
        return ""
    where = (
        "comes with JetPack" if kind == "csi" else "run sudo apt install gstreamer1.0-plugins-good"
    )
    return f"lacks the element {element}: {where}"


def lacks_decoder() -> str:
    """The decoder GStreamer lacks for most RTSP cameras, or ''; where ``gst.why_not`` is ''."""
    found = gst.decodes_h264()
    return "" if found else "lacks an H.264 decoder: run sudo apt install gstreamer1.0-libav"


def _pipeline(address: _Address, size: tuple[int, int] | None) -> gst.Pipeline:
    if address.kind == "gst":
        return gst.described(address.where, size)
    if address.kind == "csi":
        caps = f"video/x-raw(memory:NVMM){_caps(address.mode)}"
        source = f"nvarguscamerasrc sensor-id={address.where} ! {caps}"
        return gst.Pipeline(f"{source} ! {gst.end(nvidia=True, size=size)}")
    end = gst.end(nvidia=gst.has("nvvidconv"), size=size)
    if address.kind == "v4l2":
        mode = _caps(address.mode)
        caps = f'capsfilter caps="video/x-raw{mode};image/jpeg{mode}" ! ' if mode else ""
        description = f"v4l2src name={gst.SOURCE} ! {caps}decodebin ! {end}"
        return gst.Pipeline(description, {"device": address.where})
    # Over TCP nothing is lost or reordered, so no buffer has to wait for what is late.
    source = f"rtspsrc name={gst.SOURCE} protocols=tcp latency=0"
    description = f"{source} ! application/x-rtp,media=video ! decodebin ! {end}"
    return gst.Pipeline(description, {"location": address.where})


def _caps(mode: dict[str, int]) -> str:
    text = "".join(f",{key}={mode[key]}" for key in ("width", "height") if key in mode)
    return text + (f",framerate={mode['fps']}/1" if "fps" in mode else "")


def _opencv_pipeline(address: _Address, options: CameraOptions, no_gst: str) -> Open:
    import cv2

    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise TargetError(
            f"found neither a GStreamer that opens {address.name} (the one here "
            f"{no_gst or 'was not asked for'}) nor OpenCV with GStreamer (OpenCV "
            f"{cv2.__version__} is without), expected one of them: use a v4l2:// address, or the "
            "system's python3-opencv"
        )
    description = _pipeline(address, options.pipeline_scale).description
    return lambda _: _opened(cv2.VideoCapture(description, cv2.CAP_GSTREAMER))


def _opencv(address: _Address) -> Any:
    import cv2

    if address.kind != "v4l2":
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5000]
        return _opened(cv2.VideoCapture(address.where, cv2.CAP_FFMPEG, timeouts))
    capture = _opened(cv2.VideoCapture(address.where, cv2.CAP_V4L2))
    # One buffer where the driver allows it: frames in a queue are old.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    asked = {"width": cv2.CAP_PROP_FRAME_WIDTH, "height": cv2.CAP_PROP_FRAME_HEIGHT}
    for key, value in address.mode.items():
        capture.set(asked.get(key, cv2.CAP_PROP_FPS), value)
    return capture


def _opened(capture: Any) -> Any:
    if not capture.isOpened():
        raise CameraGone("does not open")
    return capture
