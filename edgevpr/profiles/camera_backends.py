"""Camera backends of this machine: what GStreamer and OpenCV open, and what they lack."""

import msgspec

from edgevpr.runtime.sources import cameras, gst


class CameraBackend(msgspec.Struct, frozen=True):
    """A library that opens live cameras for ``edgevpr run``."""

    name: str
    #: None when it cannot be used.
    version: str | None
    #: starts of the addresses that it opens.
    opens: list[str]
    #: sentences about what it lacks, with what to type.
    lacks: list[str]


def camera_backends() -> list[CameraBackend]:
    """GStreamer, which ``auto`` prefers, then OpenCV; both are imported, no camera is opened."""
    return [_gstreamer(), _opencv()]


def _gstreamer() -> CameraBackend:
    if reason := gst.why_not():
        return CameraBackend("gstreamer", None, [], [reason])
    missing = {kind: cameras.lacks(kind) for kind in ("v4l2", "rtsp", "csi", "gst")}
    opens = [_address(kind) for kind, reason in missing.items() if not reason]
    lacks = [reason for reason in missing.values() if reason]
    if not missing["rtsp"] and (reason := cameras.lacks_decoder()):
        lacks.append(reason)
    return CameraBackend("gstreamer", gst.version(), opens, list(dict.fromkeys(lacks)))


def _opencv() -> CameraBackend:
    try:
        import cv2
    except ImportError as error:
        return CameraBackend("opencv", None, [], [f"{error}: run pip install edgevpr"])
    has = cv2.videoio_registry.hasBackend
    builtin = [("v4l2", cv2.CAP_V4L2), ("rtsp", cv2.CAP_FFMPEG)]
    opens = [_address(kind) for kind, backend in builtin if has(backend)]
    if has(cv2.CAP_GSTREAMER):
        return CameraBackend("opencv", cv2.__version__, [*opens, "csi://", "gst:"], [])
    lacks = "was built without GStreamer, which csi:// and gst: need"
    return CameraBackend("opencv", cv2.__version__, opens, [lacks])


def _address(kind: str) -> str:
    return "gst:" if kind == "gst" else f"{kind}://"
