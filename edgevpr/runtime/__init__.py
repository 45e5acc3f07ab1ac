"""What a device loads: sources, engine runners, the gallery, the loop.

Nothing here imports torch, onnx or a compiler; OpenCV, FAISS and the engines load where they are
used.
"""

from edgevpr.runtime.answers import Answer, FrameError, Match, StageTimes, Summary
from edgevpr.runtime.engines.runner import OnnxRunner, Runner, runner_from_bundle
from edgevpr.runtime.gallery.gallery import Gallery
from edgevpr.runtime.judge import Judge, judge_for
from edgevpr.runtime.lane import Lane
from edgevpr.runtime.localizer import Localizer
from edgevpr.runtime.loop import call_on_hangup, run, stop_on_signals
from edgevpr.runtime.sequence import SequenceFilter
from edgevpr.runtime.shadow import Limits
from edgevpr.runtime.sinks import (
    CsvFile,
    JsonLinesFile,
    NmeaServer,
    PartFile,
    Several,
    StandardOutput,
    open_sink,
)
from edgevpr.runtime.sources.cameras import Backend, CameraOptions, scaled_for
from edgevpr.runtime.sources.frames import Frame, Source
from edgevpr.runtime.sources.live import LiveSource, Patience
from edgevpr.runtime.sources.open_source import open_source
from edgevpr.runtime.swap import Swap

__all__ = [
    "Answer",
    "Backend",
    "CameraOptions",
    "CsvFile",
    "Frame",
    "FrameError",
    "Gallery",
    "JsonLinesFile",
    "Judge",
    "Lane",
    "Limits",
    "LiveSource",
    "Localizer",
    "Match",
    "NmeaServer",
    "OnnxRunner",
    "PartFile",
    "Patience",
    "Runner",
    "SequenceFilter",
    "Several",
    "Source",
    "StageTimes",
    "StandardOutput",
    "Summary",
    "Swap",
    "call_on_hangup",
    "judge_for",
    "open_sink",
    "open_source",
    "run",
    "runner_from_bundle",
    "scaled_for",
    "stop_on_signals",
]
