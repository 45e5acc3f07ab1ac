"""Options of a run over a stream, as ``edgevpr run`` takes them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.option import Option
from edgevpr.runtime.exits.exit_plan import Notify
from edgevpr.runtime.localizer import Localizer
from edgevpr.runtime.open import open_localizer
from edgevpr.runtime.sequence import MAX_SPEED
from edgevpr.runtime.shadow import Limits
from edgevpr.runtime.sources.cameras import Backend
from edgevpr.runtime.sources.live import ReconnectPolicy


@dataclass(frozen=True)
class RunOptions:
    """A run, beside its source, bundle and gallery; ranges are checked by what takes them."""

    top: Annotated[int, Option("Places in an answer, best first.")] = 5
    sink: Annotated[
        tuple[str, ...],
        Option(
            "Also send answers there: csv:FILE, mcap:FILE (ROS 2 bag), video:FILE.mp4, "
            "nmea-tcp://HOST:PORT or nmea-serial:/dev/ttyX for autopilots, ros2:; repeatable "
            "(docs/sinks.md)."
        ),
    ] = ()
    threads: Annotated[
        int, Option("CPU threads of an ONNX Runtime engine; 0 is every core.", min=0)
    ] = 0
    limit: Annotated[int | None, Option("Stop after so many frames.", min=1)] = None
    backend: Annotated[
        Backend,
        Option(
            "What opens live cameras; auto is GStreamer where it is installed, else OpenCV "
            "(edgevpr doctor)."
        ),
    ] = "auto"
    reconnect: Annotated[
        float,
        Option(
            "Seconds for which a live camera that has gone is tried again; 0 ends the run.", min=0
        ),
    ] = ReconnectPolicy.reconnect_s
    stall: Annotated[
        float, Option("Seconds without a frame after which a live camera has gone.", min=0.1)
    ] = ReconnectPolicy.stall_s
    pipeline_scale: Annotated[
        bool,
        Option(
            "Let the GStreamer pipeline scale frames to twice the network's input: less work for "
            "the CPU, slightly other descriptors."
        ),
    ] = False
    watch: Annotated[
        bool,
        Option(
            "Change to a new bundle or gallery when one appears at the same path; SIGHUP asks for "
            "it at any time."
        ),
    ] = False
    shadow: Annotated[
        int, Option("Frames a new bundle or gallery is compared on first.", min=0)
    ] = Limits.shadow
    min_agreement: Annotated[
        float, Option("Percent of them that both must answer with one place.", min=0, max=100)
    ] = Limits.min_agreement
    max_slowdown: Annotated[
        float, Option("Work a frame the new one may take, times the old one's.", min=0)
    ] = Limits.max_slowdown
    parameters: Annotated[
        str | None,
        Option(
            "FAISS search parameters, verbatim (nprobe=16,k_factor_rf=4); the gallery's own choice "
            "without it."
        ),
    ] = None
    near: Annotated[
        str | None,
        Option("lat,lon,radius in degrees and metres: answer only with images taken there."),
    ] = None
    min_confidence: Annotated[
        float | None,
        Option(
            "Least confidence, a probability, of an answer that is a fix (known: true); the "
            "gallery's own threshold without it.",
            min=0,
            max=1,
        ),
    ] = None
    exit: Annotated[
        str,
        Option(
            "Of a bundle with early exits, which of them answers: its name (L4), full, "
            "deadline:MS (the deepest in time), confidence:P[,MS] (the first, and a deeper one "
            "where it is not sure) or budget:FILE (a level from 0 to 1, read again and again)."
        ),
    ] = FULL
    sequence: Annotated[
        bool, Option("Answer by all frames so far, not each alone: a Bayes filter over the map.")
    ] = False
    max_speed: Annotated[
        float, Option("With `sequence`: metres a second the robot cannot exceed.")
    ] = MAX_SPEED
    assume_known: Annotated[
        bool,
        Option(
            "Let sinks take answers as fixes that nothing judged, because the gallery has no "
            "confidence model: every frame is one then, right or wrong."
        ),
    ] = False

    @property
    def limits(self) -> Limits:
        """Bounds that a new bundle or gallery must keep."""
        return Limits(self.shadow, self.min_agreement, self.max_slowdown)

    @property
    def reconnect_policy(self) -> ReconnectPolicy:
        """When a camera counts as gone, and how long it is tried again."""
        return ReconnectPolicy(self.reconnect, self.stall)

    def localizer(
        self, bundle: Path, gallery: Path, *, live: bool, notify: Notify | None = None
    ) -> Localizer:
        """A localizer with these options, not yet opened; see ``open_localizer``."""
        return open_localizer(
            bundle,
            gallery,
            sequence=self.sequence,
            near=self.near,
            min_confidence=self.min_confidence,
            threads=self.threads,
            top=self.top,
            parameters=self.parameters,
            max_speed=self.max_speed,
            live=live,
            exit=self.exit,
            notify=notify,
        )
