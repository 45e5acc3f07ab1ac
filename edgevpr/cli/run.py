"""Verb ``edgevpr run``: places of the frames of a stream."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from edgevpr.cli import console
from edgevpr.cli.options import takes
from edgevpr.printable import counted
from edgevpr.runtime.localizer import Localizer
from edgevpr.runtime.run_options import RunOptions


@takes(RunOptions)
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
    options: RunOptions,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File for the answers; stdout without it. OUT.part until done."
        ),
    ] = None,
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
    from edgevpr.redact import redact_address

    remarked = set[str]()

    def open_pair() -> runtime.Localizer:
        localizer = options.localizer(bundle, gallery, live=feed.live, notify=console.note)
        for remark in _remarks(localizer, gallery, options):
            if remark not in remarked:
                remarked.add(remark)
                console.note(remark)
        return localizer

    build_if_missing(bundle)
    swap = runtime.Swap(
        open_pair, [bundle, gallery], console.note, limits=options.limits, watch=options.watch
    )
    size = None
    if options.pipeline_scale:
        size = runtime.scaled_for(runtime.open_bundle(bundle).record.preprocess)
    camera = runtime.CameraOptions(
        options.backend, options.reconnect_policy, pipeline_scale=size, notify=console.note
    )
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
            stack.enter_context(
                runtime.open_sink(uri, inputs=reads, assume_known=options.assume_known)
            )
            for uri in options.sink
        ]
        first = file or runtime.StandardOutput()
        total = runtime.frames_of(frames)
        if options.limit is not None:
            total = options.limit if total is None else min(total, options.limit)
        # After the sinks: what they say when they open is not drawn over.
        move = stack.enter_context(
            console.counting("locating frames", total, beside_lines=file is None)
        )
        sinks = runtime.SinkGroup([first, *others, _Bar(move)])
        summary = runtime.run(frames, worker, sinks, limit=options.limit, stop=stop, swap=swap)
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
        kept = f": the answers so far are in {file.part}" if file else ""
        console.interrupted(f"interrupted before the end of {redact_address(source)}{kept}")
    stopped_before_the_first = summary.interrupted and not summary.frames
    if summary.frames == summary.errors and not stopped_before_the_first:
        raise DataError(
            f"found {counted(summary.frames, 'frame')} of {redact_address(source)} and none that "
            "could be read and described, expected images: look at the errors above, and at the "
            "files"
        )
    if isinstance(frames, runtime.LiveSource) and frames.gone:
        raise typer.Exit(DataError.exit_code)


class _Bar:
    """A sink that moves the progress bar."""

    def __init__(self, move: Callable[[], None]) -> None:
        self._move = move

    def write(self, answer: object, frame: object = None) -> None:
        self._move()


def _remarks(localizer: Localizer, gallery: Path, options: RunOptions) -> list[str]:
    """Why answers will be no fix, where somebody may wait for one."""
    from edgevpr import runtime

    judge, known = localizer.judge, options.assume_known
    if localizer.exits is not None:
        return localizer.exits.remarks(gallery, assume_known=known)
    if judge is None and not any(map(runtime.gives_fixes, options.sink)):
        return []
    remark = runtime.no_fix_remark(judge, gallery, assume_known=known)
    return [remark] if remark else []
