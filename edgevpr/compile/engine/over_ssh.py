"""Builds over ssh: ship a bundle to a board, build there, bring the engine back.

The board keeps nothing: it works in a temporary folder, which goes when the build ends, fails or
is interrupted here. Hashes and sidecars of what comes back are checked before it is installed.
"""

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edgevpr import __version__
from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import Artifact, read_json, sha256_file, write_json
from edgevpr.artifacts.records import BundleRecord, EngineSidecar
from edgevpr.compile.engine.preflight import check_room
from edgevpr.compile.engine.sidecars import (
    EVIDENCE,
    FOLDER,
    SIGNED,
    BuildReport,
    stage,
    write_evidence,
)
from edgevpr.compile.engine.ssh import Link, local_folder
from edgevpr.errors import (
    ArtifactError,
    CorruptArtifactError,
    DataError,
    EdgeVPRError,
    MissingExtraError,
    NumericsError,
    ResourceError,
    TargetError,
    UsageError,
)
from edgevpr.files import scratch

#: Where to look for edgevpr on a board whose ssh sessions do not have it on their PATH.
PLACES = ("$HOME/edgevpr/bin/edgevpr", "$HOME/.local/bin/edgevpr", "$HOME/.venv/bin/edgevpr")
#: A build's exit code there -> the error it is here.
_ERRORS: dict[int, type[EdgeVPRError]] = {
    kind.exit_code: kind
    for kind in (
        UsageError, DataError, ArtifactError, MissingExtraError, TargetError, ResourceError,
        NumericsError,
    )
}  # fmt: skip

_PROBE = """
e={given}
[ -n "$e" ] || e=$(command -v edgevpr)
for f in {places}; do [ -z "$e" ] && [ -x "$f" ] && e=$f; done
echo "rsync=$(command -v rsync)"
echo "edgevpr=$(command -v "$e")"
echo "version=$("$e" --version 2>/dev/null)"
echo "free=$(df -Pk "${{TMPDIR:-/tmp}}" | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4)"
"""
# Without a terminal, a process there learns of a broken connection only by reading its stdin.
_BUILD = """
exec 3<&0
{command} & pid=$!
{{ cat <&3; : >{folder}/alone; kill "$pid"; }} >/dev/null 2>&1 & watch=$!
wait "$pid"; code=$?
kill "$watch" 2>/dev/null
[ ! -e {folder}/alone ] || rm -rf {folder}
exit "$code"
"""


def build_on_host(
    path: Path,
    host: str,
    *,
    dla: int | None = None,
    host_edgevpr: str = "",
) -> BuildReport:
    """Build a bundle's engine on a board and put it into the bundle here, atomically.

    rsync and the build there draw their own progress on stderr.

    Args:
        host: ssh destination.
        host_edgevpr: the program there, where its PATH does not have it.

    Raises:
        TargetError: the board cannot be reached, lacks something, or cannot build it.
        CorruptArtifactError: an engine differs from the one that was reported.
        EdgeVPRError: the error that the build there ended with.
    """
    bundle = open_artifact(path, "bundle")
    record = bundle.read("bundle.json", BundleRecord)
    check_room(bundle)
    link = Link(host)
    program, version = _probe(link, bundle, host_edgevpr)
    with _folder(link) as folder, scratch("edgevpr-build-") as back:
        link.copy(local_folder(bundle.path), link.remote_folder(f"{folder}/bundle"))
        report = _build(link, program, folder, dla)
        if report.engines:
            link.copy(link.remote_folder(f"{folder}/bundle/{FOLDER}"), local_folder(Path(back)))
        remarks = list(report.remarks)
        if version != __version__:
            remarks.append(f"{host} has edgevpr {version}, here is {__version__}")
        report = msgspec.structs.replace(report, bundle=str(path), host=host, remarks=remarks)
        _install(bundle, record, report, Path(back))
    return report


def _probe(link: Link, bundle: Artifact, given: str) -> tuple[str, str]:
    """The program to run there and its version; raises where something needed is missing."""
    quoted = shlex.quote(given)
    if given.startswith("~/"):
        quoted = f'"$HOME"/{shlex.quote(given[2:])}'
    script = _PROBE.format(given=quoted, places=" ".join(f'"{place}"' for place in PLACES))
    found = dict(line.partition("=")[::2] for line in link.ask(script).splitlines())
    if not found.get("rsync"):
        raise TargetError(
            f"found no rsync on {link.host}, expected it to build there: run ssh {link.host} sudo "
            "apt install rsync"
        )
    if not found.get("edgevpr") or not found.get("version"):
        name = given or "edgevpr"
        raise TargetError(
            f"found no working {name} on {link.host}, expected edgevpr {__version__}: run ssh "
            f"{link.host} 'python3 -m venv --system-site-packages ~/edgevpr && ~/edgevpr/bin/pip "
            'install "edgevpr[jetson]"\', or say where it is with `host_edgevpr`'
        )
    size = sum(entry.size for entry in bundle.manifest.files.values())
    free = int(found["free"]) >> 10 if found.get("free", "").isdigit() else None
    if free is not None and free < (need := (3 * size >> 20) + 64):
        raise ResourceError(
            f"found {free} MiB free for temporary files on {link.host}, expected {need} MiB: free "
            "some, or set TMPDIR for ssh sessions there"
        )
    return found["edgevpr"], found["version"].split()[-1]


@contextlib.contextmanager
def _folder(link: Link) -> Iterator[str]:
    """A temporary folder there."""
    folder = link.ask('mktemp -d "${TMPDIR:-/tmp}/edgevpr-XXXXXXXX"').strip()
    if not re.fullmatch(r"/[\w./-]*/edgevpr-\w{8}", folder):
        raise TargetError(
            f"found {folder!r} as a temporary folder on {link.host}, expected a plain path: set "
            "TMPDIR for ssh sessions there"
        )
    try:
        yield folder
    finally:
        with contextlib.suppress(TargetError):
            link.ask(f"rm -rf {folder}")


def _build(link: Link, program: str, folder: str, dla: int | None) -> BuildReport:
    """Run the build there; its progress and messages go to stderr here as they come."""
    words = [program, "build", f"{folder}/bundle", "--json"]
    words += [] if dla is None else ["--dla", str(dla)]
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        words = ["env", "FORCE_COLOR=1", f"COLUMNS={width}", *words]
    script = _BUILD.format(command=shlex.join(words), folder=folder)
    # Its standard input stays open for as long as this process lives.
    with subprocess.Popen(
        link.command(script), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as build:
        assert build.stdout is not None
        output = build.stdout.read()
        code = build.wait()
    if code:
        kind = _ERRORS.get(code, TargetError)
        raise kind(
            f"found exit code {code} from edgevpr build on {link.host}, expected 0: read its "
            "message above; the bundle here is as it was"
        )
    try:
        return msgspec.json.decode(output, type=BuildReport)
    except msgspec.DecodeError as error:
        raise TargetError(
            f"found no report of edgevpr build on {link.host} that can be read ({error}), expected "
            f"one of edgevpr {__version__}: install the same version there"
        ) from error


def _install(bundle: Artifact, record: BundleRecord, report: BuildReport, back: Path) -> None:
    """Put the engines into the bundle, if they are those that the board reported."""
    for sidecar in report.engines:
        _check(sidecar, record, back, report.host)
    _check_every_graph(bundle, record, report)
    with write_artifact(bundle.path, "bundle", space=bundle.manifest.space) as folder:
        (folder / FOLDER).mkdir()
        for sidecar in report.engines:
            stem = Path(sidecar.engine).stem
            for name in (sidecar.engine, f"{stem}.json"):
                shutil.copyfile(back / name, folder / FOLDER / name)
            if (back / f"{stem}{SIGNED}").is_file():
                shutil.copyfile(back / f"{stem}{SIGNED}", folder / FOLDER / f"{stem}{SIGNED}")
        stage(folder, bundle, record, report.engines)
        if report.engines:
            write_evidence(folder, report)
        else:
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", report.host)
            write_json(folder / FOLDER / f"{record.runtime}-{name}{EVIDENCE}", report)


def _check_every_graph(bundle: Artifact, record: BundleRecord, report: BuildReport) -> None:
    """Raise where a graph of a bundle with early exits came back without its engine."""
    wanted = {graph.file for graph in record.graphs}
    if record.exits and "model.onnx" in bundle.manifest.files:
        wanted.add("model.onnx")
    missing = sorted(wanted - {sidecar.graph for sidecar in report.engines})
    if report.engines and missing:
        raise CorruptArtifactError(
            f"found no engine of {', '.join(missing)} from {report.host}, expected one of every "
            f"graph of {bundle.path}: install edgevpr {__version__} there"
        )


def _check(sidecar: EngineSidecar, record: BundleRecord, back: Path, host: str) -> None:
    again = f"expected the engine that {host} reported: run the command again"
    name = sidecar.engine
    if not re.fullmatch(r"[\w+-][\w.+-]*\.engine", name):
        raise CorruptArtifactError(f"found an engine named {name!r} from {host}, {again}")
    file = back / name
    if not file.is_file() or sha256_file(file) != sidecar.sha256:
        raise CorruptArtifactError(f"found {name} without the content it was built with, {again}")
    arrived = read_json(back / f"{file.stem}.json", EngineSidecar)
    if arrived != sidecar:
        raise CorruptArtifactError(f"found {name} with another sidecar, {again}")
    if sidecar.graph_sha256 != record.graph_sha256:
        raise CorruptArtifactError(
            f"found {name}, built from another graph than the bundle's, {again}"
        )
