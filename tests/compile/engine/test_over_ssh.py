"""``edgevpr build --host``: a real sshd on loopback is the board."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

import edgevpr
from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.manifest import sha256_file
from edgevpr.artifacts.records import BundleRecord
from edgevpr.compile.engine.over_ssh import build_on_host
from edgevpr.compile.engine.sidecars import BuildReport, sidecar_of
from edgevpr.errors import CorruptArtifactError, MissingExtraError, TargetError, UsageError

SSHD = "/usr/sbin/sshd"
EDGEVPR = (sys.executable, "-c", "from edgevpr.cli.main import main; main()")
Compiled = Callable[..., Path]
MISSING = [p for p in ("ssh", "ssh-keygen", SSHD, "rsync") if shutil.which(p) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"needs openssh-server and rsync (apt); no {', '.join(MISSING)}"
)
REAL = """exec "{python}" -c 'from edgevpr.cli.main import main; main()' "$@"\n"""


@dataclass
class Board:
    """An sshd of this user's, and how to reach it."""

    root: Path
    port: int

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    def edgevpr(self, script: str) -> None:
        """Install ``edgevpr`` on the board as a shell script."""
        file = self.root / "bin" / "edgevpr"
        file.write_text("#!/bin/sh\n" + script)
        file.chmod(0o755)

    def left(self) -> list[str]:
        """Temporary folders of edgevpr on the board."""
        return [path.name for path in self.temporary.glob("edgevpr-*")]

    def configure(self, *, key: str = "user", known: bool = True, port: int = 0) -> None:
        """Write the user's ssh configuration."""
        host = f"[127.0.0.1]:{port or self.port} {(self.root / 'host.pub').read_text()}"
        (self.root / "known").write_text(host if known else "")
        (self.root / "config").write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {port or self.port}\n"
            f"  User {getpass.getuser()}\n  IdentityFile {self.root / key}\n"
            f"  IdentitiesOnly yes\n  IdentityAgent none\n  StrictHostKeyChecking yes\n"
            f"  UserKnownHostsFile {self.root / 'known'}\n  GlobalKnownHostsFile /dev/null\n"
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """A board with the tools of a bare one, and this package as its edgevpr."""
    root = tmp_path / "board"
    for name in ("bin", "tmp"):
        (root / name).mkdir(parents=True)
    for name in ("host", "user", "stranger"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", root / name], check=True
        )
    shutil.copyfile(root / "user.pub", root / "authorized")
    for tool in ("sh", "rsync", "mktemp", "df", "tail", "tr", "cut", "rm", "cat", "sleep", "env"):
        (root / "bin" / tool).symlink_to(str(shutil.which(tool)))
    made = Board(root, free_port())
    made.edgevpr(REAL.format(python=sys.executable))
    package = Path(edgevpr.__file__).parents[1]
    (root / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {made.port}\nHostKey {root / 'host'}\nPidFile none\n"
        f"AuthorizedKeysFile {root / 'authorized'}\nStrictModes no\nUsePAM no\n"
        f"PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"SetEnv PATH={root / 'bin'} PYTHONPATH={package} TMPDIR={made.temporary} "
        f"OMP_NUM_THREADS=1 EDGEVPR_CACHE={root / 'cache'}\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    monkeypatch.setenv("EDGEVPR_SSH", f"ssh -F {root / 'config'}")
    made.configure()
    server = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", root / "sshd_config"], stderr=(root / "log").open("w")
    )
    try:
        _wait(lambda: _answers(made.port), root / "log")
        yield made
    finally:
        server.terminate()
        server.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _wait(done: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


@pytest.fixture
def bundle(compiled: Compiled, tmp_path: Path) -> Path:
    """A copy of the CPU bundle."""
    return Path(shutil.copytree(compiled("cpu", "fp32"), tmp_path / "bundle"))


def digest(bundle: Path) -> str:
    return open_artifact(bundle, "bundle").digest


def test_an_engine_is_built_there_and_comes_back(
    compiled: Compiled, tmp_path: Path, board: Board
) -> None:
    """Shipped, built, fetched, installed; nothing stays on the board."""
    pytest.importorskip("tensorrt_rtx", reason="needs pip install 'edgevpr[rtx]'")
    path = Path(shutil.copytree(compiled("rtx-ada", "fp16"), tmp_path / "bundle"))
    before = open_artifact(path, "bundle")
    old = before.read("bundle.json", BundleRecord)
    sidecar = sidecar_of(before, old.engines[0])
    report = build_on_host(path, "board")
    after = open_artifact(path, "bundle")
    assert after.read("bundle.json", BundleRecord) == old
    new = sidecar_of(after, old.engines[0])
    assert report.engines == [new]
    assert new.built >= sidecar.built
    assert new.sha256 == sha256_file(after.file(f"engines/{new.engine}"))
    stem = Path(new.engine).stem
    evidence = after.read(f"engines/{stem}.evidence.json", BuildReport)
    assert evidence.host == "board"
    assert not any(str(board.temporary) in remark for remark in report.remarks)
    assert evidence.layers[new.engine].precisions["fp16"] > 0
    assert board.left() == []


def test_parity_and_latency_there_come_back(bundle: Path, board: Board) -> None:
    """A CPU bundle needs no engine; its parity and latency there are kept."""
    report = build_on_host(bundle, "board")
    assert report.engines == []
    assert report.parity is not None
    assert report.parity.min_cosine > 0.9999
    assert report.latency is not None
    assert report.latency.p50_ms > 0
    opened = open_artifact(bundle, "bundle")
    assert opened.read("engines/onnxruntime-board.evidence.json", BuildReport) == report
    assert board.left() == []


def test_the_command_line(bundle: Path, board: Board) -> None:
    """One JSON document on stdout, whatever the board prints on stderr."""
    done = subprocess.run(
        [*EDGEVPR, "build", str(bundle), "--host", "board", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert msgspec.json.decode(done.stdout, type=BuildReport).host == "board"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"key": "stranger"}, "keys refused by board, .*: run ssh-copy-id board"),
        ({"known": False}, "a host key of board that is not known here, .*: run ssh board once"),
        ({"port": 1}, "no ssh server on board, .*: run sudo systemctl start ssh"),
    ],
)
def test_a_board_that_cannot_be_reached(
    bundle: Path, board: Board, options: dict[str, object], sentence: str
) -> None:
    """One sentence with a command for each message of ssh; the bundle is untouched."""
    board.configure(**options)  # type: ignore[arg-type]
    before = digest(bundle)
    with pytest.raises(TargetError, match=sentence):
        build_on_host(bundle, "board")
    assert digest(bundle) == before


def test_an_unknown_name_and_an_option(bundle: Path, board: Board) -> None:
    """A misspelt host is named; a host must not become an option of ssh."""
    with pytest.raises(TargetError, match=r"no host named b0ard\.invalid, .* Host entry"):
        build_on_host(bundle, "b0ard.invalid")
    with pytest.raises(UsageError, match="pass `host` user@board"):
        build_on_host(bundle, "-oProxyCommand=touch /tmp/x")


def test_a_bare_board(bundle: Path, board: Board) -> None:
    """Without rsync or edgevpr there: the command that installs it."""
    (board.root / "bin" / "edgevpr").unlink()
    with pytest.raises(TargetError, match=r"no working edgevpr on board.*pip install") as caught:
        build_on_host(bundle, "board")
    assert '"edgevpr[jetson]"' in str(caught.value)
    with pytest.raises(TargetError, match="no working /opt/edgevpr on board"):
        build_on_host(bundle, "board", host_edgevpr="/opt/edgevpr")
    (board.root / "bin" / "rsync").unlink()
    with pytest.raises(TargetError, match=r"no rsync on board.*sudo apt install rsync"):
        build_on_host(bundle, "board")


def test_a_machine_without_rsync(
    bundle: Path, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    (board.root / "only").mkdir()
    (board.root / "only" / "ssh").symlink_to(str(shutil.which("ssh")))
    monkeypatch.setenv("PATH", str(board.root / "only"))
    with pytest.raises(MissingExtraError, match=r"no rsync here.*apt install rsync"):
        build_on_host(bundle, "board")


def test_a_build_that_fails_there(
    compiled: Compiled, tmp_path: Path, board: Board, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its exit code and message arrive; the bundle and the board are as they were."""
    path = Path(shutil.copytree(compiled("jetson-orin", "fp16"), tmp_path / "bundle"))
    before = digest(path)
    with pytest.raises(TargetError, match="exit code 6 from edgevpr build on board"):
        build_on_host(path, "board")
    assert "found no TensorRT in this Python" in capfd.readouterr().err
    assert digest(path) == before
    assert board.left() == []


FAKE = """
[ "$1" = --version ] && { echo edgevpr 0; exit; }
"""


def test_engines_that_come_back_are_checked(
    compiled: Compiled, tmp_path: Path, board: Board
) -> None:
    """A report, hash or sidecar that does not agree is refused."""
    path = Path(shutil.copytree(compiled("rtx-ada", "fp16"), tmp_path / "bundle"))
    opened = open_artifact(path, "bundle")
    before = opened.digest
    sidecar = sidecar_of(opened, opened.read("bundle.json", BundleRecord).engines[0])

    def answer(**changes: object) -> None:
        claimed = msgspec.structs.replace(sidecar, **changes)
        report = BuildReport("bundle", [claimed], None, None, [])
        text = msgspec.json.encode(report).decode()
        board.edgevpr(f"{FAKE}cat <<'END'\n{text}\nEND\n")

    board.edgevpr(FAKE + "echo no report\n")
    with pytest.raises(TargetError, match="no report of edgevpr build on board that can be read"):
        build_on_host(path, "board")
    answer(sha256="0" * 64)
    with pytest.raises(CorruptArtifactError, match="without the content it was built with"):
        build_on_host(path, "board")
    answer(precision="int8")
    with pytest.raises(CorruptArtifactError, match="another sidecar"):
        build_on_host(path, "board")
    answer(engine="../../x.engine")
    with pytest.raises(CorruptArtifactError, match=r"engine named '\.\./\.\./x\.engine'"):
        build_on_host(path, "board")
    assert digest(path) == before
    assert board.left() == []


def test_an_interrupted_build_ends_there_too(bundle: Path, board: Board) -> None:
    """The build on the board ends and its folder is removed."""
    started, ended = board.root / "started", board.root / "ended"
    board.edgevpr(f"{FAKE}trap 'echo > {ended}; exit 1' TERM\necho > {started}\nsleep 60 & wait\n")
    before = digest(bundle)
    client = subprocess.Popen(
        [*EDGEVPR, "build", str(bundle), "--host", "board"],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _wait(started.exists, board.root / "log")
    os.killpg(client.pid, 9)
    client.wait()
    _wait(ended.exists, board.root / "log")
    _wait(lambda: board.left() == [], board.root / "log")
    assert digest(bundle) == before
