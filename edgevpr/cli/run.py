"""Verb ``edgevpr run``: places of the frames of a stream."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from edgevpr.cli import console

#: As edgevpr.runtime.Backend, which --help must not import.
Backend = Literal["auto", "opencv", "gstreamer"]


def command(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder, glob, image, video, MCAP file or rosbag2 folder (?topic=NAME), file://, "
            "camera number, v4l2://, rtsp://, csi://N, gst:PIPELINE."
        ),
    ],
    bundle: Annotated[Path, typer.Option(help="Bundle artifact (edgevpr compile).")],
    gallery: Annotated[Path, typer.Option(help="Gallery artifact (edgevpr index).")],
    top: Annotated[int, typer.Option(help="Places in an answer, best first.")] = 5,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File for the answers; stdout without it. OUT.part until done."
        ),
    ] = None,
    sink: Annotated[
        list[str] | None,
        typer.Option(
            help="Also send answers there: csv:FILE, mcap:FILE (ROS 2 bag), video:FILE.mp4, "
            "nmea-tcp://HOST:PORT or nmea-serial:/dev/ttyX for autopilots, ros2:; repeatable "
            "(docs/sinks.md)."
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=0, help="CPU threads of an ONNX Runtime engine; 0 is every core.")
    ] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    backend: Annotated[
        Backend,
        typer.Option(
            help="What opens live cameras; auto is GStreamer where it is installed, else OpenCV "
            "(edgevpr doctor)."
        ),
    ] = "auto",
    reconnect: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds for which a live camera that has gone is tried again; 0 ends the run.",
        ),
    ] = 60,
    stall: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds without a frame after which a live camera has gone."),
    ] = 5,
    pipeline_scale: Annotated[
        bool,
        typer.Option(
            "--pipeline-scale",
            help="Let the GStreamer pipeline scale frames to twice the network's input: less work "
            "for the CPU, slightly other descriptors.",
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Change to a new bundle or gallery when one appears at the same path; SIGHUP "
            "asks for it at any time.",
        ),
    ] = False,
    shadow: Annotated[
        int, typer.Option(min=0, help="Frames a new bundle or gallery is compared on first.")
    ] = 30,
    min_agreement: Annotated[
        float,
        typer.Option(min=0, max=100, help="Percent of them that both must answer with one place."),
    ] = 80.0,
    max_slowdown: Annotated[
        float, typer.Option(min=0, help="Work a frame the new one may take, times the old one's.")
    ] = 1.5,
    parameters: Annotated[
        str | None,
        typer.Option(
            help="FAISS search parameters, verbatim (nprobe=16,k_factor_rf=4); the gallery's own "
            "choice without it."
        ),
    ] = None,
    near: Annotated[
        str | None,
        typer.Option(
            help="lat,lon,radius in degrees and metres: answer only with images taken there."
        ),
    ] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Least confidence, a probability, of an answer that is a fix (known: true); the "
            "gallery's own threshold without it.",
        ),
    ] = None,
    sequence: Annotated[
        bool,
        typer.Option(
            "--sequence",
            help="Answer by all frames so far, not each alone: a Bayes filter over the map.",
        ),
    ] = False,
    max_speed: Annotated[
        float, typer.Option(help="With --sequence: metres a second the robot cannot exceed.")
    ] = 15.0,
    assume_known: Annotated[
        bool,
        typer.Option(
            "--assume-known",
            help="Let sinks take answers as fixes that nothing judged, because the gallery has no "
            "confidence model: every frame is one then, right or wrong.",
        ),
    ] = False,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="The closing summary as JSON: on stdout with --output, else on stderr."
        ),
    ] = False,
) -> None:
    """Say where each frame was taken, one JSON line a frame.

    A summary goes to stderr at the end. A frame that cannot be read gets a line with "error" and
    the run goes on; only "known": true is a fix. Ctrl-C or SIGTERM answers what is
    already decoded and ends: with code 0 for a live camera, 130 for files; a live camera that does
    not come back ends it with 3. SIGHUP opens a new bundle or gallery beside the running one,
    compares them, and swaps or keeps.
    """
    from edgevpr import runtime
    from edgevpr.cli.engine import build_if_missing
    from edgevpr.errors import DataError
    from edgevpr.places.near import Near
    from edgevpr.redact import redact_address

    prior = Near.parse(near) if near else None

    remarked = set[str]()

    def open_pair() -> runtime.Localizer:
        localizer = runtime.open_localizer(
            bundle, gallery, sequence=sequence, near=prior, min_confidence=min_confidence,
            threads=threads, top=top, parameters=parameters, max_speed=max_speed, live=feed.live,
        )  # fmt: skip
        if localizer.judge is not None or any(map(runtime.gives_fixes, sink or [])):
            remark = runtime.no_fix_remark(localizer.judge, gallery, assume_known=assume_known)
            if remark and remark not in remarked:
                remarked.add(remark)
                console.note(remark)
        return localizer

    build_if_missing(bundle)
    limits = runtime.Limits(shadow=shadow, min_agreement=min_agreement, max_slowdown=max_slowdown)
    swap = runtime.Swap(open_pair, [bundle, gallery], console.note, limits=limits, watch=watch)
    size = None
    if pipeline_scale:
        size = runtime.scaled_for(runtime.open_bundle(bundle).record.preprocess)
    policy = runtime.ReconnectPolicy(reconnect, stall)
    camera = runtime.CameraOptions(backend, policy, pipeline_scale=size, notify=console.note)
    feed = runtime.open_source(source, camera)
    with ExitStack() as stack:
        # Before anything opens: an engine that is left while it opens aborts the process.
        stop = stack.enter_context(runtime.stop_on_signals())
        stack.enter_context(runtime.call_on_hangup(swap.request, stop))
        worker = stack.enter_context(runtime.LocalizerThread(open_pair))
        frames = stack.enter_context(feed)
        reads = [bundle, gallery, *runtime.files_of(feed)]
        file = None
        if output:
            file = stack.enter_context(runtime.JsonLinesFile(output, inputs=reads, name="output"))
        others = [
            stack.enter_context(runtime.open_sink(uri, inputs=reads, assume_known=assume_known))
            for uri in sink or []
        ]
        first = file or runtime.StandardOutput()
        sinks = runtime.SinkGroup([first, *others])
        summary = runtime.run(frames, worker, sinks, limit=limit, stop=stop, swap=swap)
        cut_short = summary.interrupted and not frames.live
        for each in (file, *others):
            if isinstance(each, runtime.PartFile):
                each.complete = not cut_short
    for remark in summary.remarks:
        console.note(remark)
    if not json:
        console.note(summary.sentence())
    elif output:
        console.emit_json(summary)
    else:
        console.note(console.json_text(summary))
    if cut_short:
        kept = f"; the answers so far are in {file.part}" if file else ""
        console.note(f"interrupted before the end of {redact_address(source)}{kept}")
        raise typer.Exit(130)
    stopped_before_the_first = summary.interrupted and not summary.frames
    if summary.frames == summary.errors and not stopped_before_the_first:
        raise DataError(
            f"none of the {summary.frames} frames of {redact_address(source)} could be read "
            "and described, expected images: look at the errors above, and at the files"
        )
    if isinstance(frames, runtime.LiveSource) and frames.gone:
        raise typer.Exit(DataError.exit_code)
