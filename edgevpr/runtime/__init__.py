"""The part of edgevpr that runs on a robot: camera frames in, places out.

Nothing here imports torch, onnx or a compiler; OpenCV, FAISS and the engines load where they are
used::

    open                       bundle and gallery as one ``Localizer``: ``open_localizer``
    localizer, matches         one frame: preprocessing, engine, search, answer
    check_arguments            checks of frames and GPS priors
    judge                      confidence of an answer, and whether it is a fix
    sequence                   Bayes filter over the frames so far
    sequence_tracks            tracks of a robot: positions and speeds
    sequence_layout            the plane a map lies on: metres, or the order of a traverse
    answers                    records of answers and of a run
    run_options                options of a run, as the command line takes them
    loop, localizer_thread     a run: source, engine thread, sinks
    tally                      counters of a run
    swap, shadow               a new bundle or gallery in place of the running one
    exits/                     early exits: which of them answers a frame
    engines/                   ONNX Runtime, TensorRT and TensorRT-RTX
    gallery/                   the map: index, images, changes, searches near a point
    sources/                   image files, videos, recordings, cameras
    sinks/                     JSON lines, CSV, MCAP, video, NMEA, ROS 2
"""

from edgevpr.runtime.answers import Answer, FrameError, Match, RunSummary, StageTimes
from edgevpr.runtime.engines.runner import OnnxRunner, Runner, runner_from_bundle
from edgevpr.runtime.gallery.gallery import Gallery
from edgevpr.runtime.judge import Judge, judge_for, no_fix_remark
from edgevpr.runtime.localizer import Localizer
from edgevpr.runtime.localizer_thread import LocalizerThread
from edgevpr.runtime.loop import call_on_hangup, run, stop_on_signals
from edgevpr.runtime.open import Bundle, open_bundle, open_gallery, open_localizer
from edgevpr.runtime.sequence import SequenceFilter
from edgevpr.runtime.shadow import Limits
from edgevpr.runtime.sinks import (
    CsvFile,
    JsonLinesFile,
    NmeaServer,
    PartFile,
    SinkGroup,
    StandardOutput,
    gives_fixes,
    open_sink,
)
from edgevpr.runtime.sources.cameras import Backend, CameraOptions, scaled_for
from edgevpr.runtime.sources.frames import Frame, Source, files_of, frames_of
from edgevpr.runtime.sources.live import LiveSource, ReconnectPolicy
from edgevpr.runtime.sources.open_source import open_source
from edgevpr.runtime.swap import Swap

__all__ = [
    "Answer",
    "Backend",
    "Bundle",
    "CameraOptions",
    "CsvFile",
    "Frame",
    "FrameError",
    "Gallery",
    "JsonLinesFile",
    "Judge",
    "Limits",
    "LiveSource",
    "Localizer",
    "LocalizerThread",
    "Match",
    "NmeaServer",
    "OnnxRunner",
    "PartFile",
    "ReconnectPolicy",
    "RunSummary",
    "Runner",
    "SequenceFilter",
    "SinkGroup",
    "Source",
    "StageTimes",
    "StandardOutput",
    "Swap",
    "call_on_hangup",
    "files_of",
    "frames_of",
    "gives_fixes",
    "judge_for",
    "no_fix_remark",
    "open_bundle",
    "open_gallery",
    "open_localizer",
    "open_sink",
    "open_source",
    "run",
    "runner_from_bundle",
    "scaled_for",
    "stop_on_signals",
]
