"""Outputs and atomic writes: devices, links, inputs, killed writers, other file systems."""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from edgevpr import files, locks
from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.errors import UsageError
from edgevpr.files import check_output_folder, output_file, scratch, write_atomic

#: Dies by SIGKILL at the point named by its second argument.
KILLED = """
import os, signal, sys
from pathlib import Path
from edgevpr import files as atomic
from edgevpr.artifacts import folder as artifact

path, point = Path(sys.argv[1]), sys.argv[2]
die = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
if point == "sealing":
    artifact.write_json = die
elif point == "after the swap":
    atomic.shutil.rmtree = die
elif point == "between two renames":
    atomic._exchange = lambda a, b: False
    rename, calls = Path.rename, []
    def counted(self, target):
        calls.append(target)
        return die() if len(calls) == 2 else rename(self, target)
    Path.rename = counted
with artifact.write_artifact(path, "features", space="new") as folder:
    (folder / "big.bin").write_bytes(b"n" * 100_000)
    if point == "writing":
        die()
"""

#: Holds a writer open until a line arrives on stdin.
WAITING = """
import sys
import tempfile
from pathlib import Path
from edgevpr.artifacts.folder import write_artifact

with write_artifact(Path(sys.argv[1]), "features", space=sys.argv[2]) as folder:
    (folder / "who").write_text(sys.argv[2])
    print("inside", flush=True)
    sys.stdin.readline()
    assert (folder / "who").exists(), "swept while alive"
"""


def write(path: Path, space: str) -> None:
    with write_artifact(path, "features", space=space) as folder:
        (folder / "who").write_text(space)


def kill_at(path: Path, point: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), point], check=False)
    assert done.returncode == -signal.SIGKILL, "the writer was meant to die"


@pytest.mark.parametrize(
    ("point", "survivor"),
    [("writing", "old"), ("sealing", "old"), ("after the swap", "new")],
)
def test_a_killed_writer(tmp_path: Path, point: str, survivor: str) -> None:
    """The old artifact opens, or the new one, and nothing is left."""
    path = tmp_path / "features"
    write(path, "old")
    kill_at(path, point)
    assert open_artifact(path, "features").space == survivor
    assert len(list(tmp_path.iterdir())) == 2, "the killed writer leaves a temporary"
    write(path, "newer")
    assert open_artifact(path, "features").space == "newer"
    assert [p.name for p in tmp_path.iterdir()] == ["features"], "the next writer sweeps it"


def test_a_writer_killed_with_nothing_there_before(tmp_path: Path) -> None:
    kill_at(tmp_path / "features", "writing")
    assert not (tmp_path / "features").exists()
    write(tmp_path / "features", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["features"]


def test_killed_between_two_renames(tmp_path: Path) -> None:
    """Without the one-step swap the old one stands aside for a moment; it must not be lost."""
    path = tmp_path / "features"
    write(path, "old")
    kill_at(path, "between two renames")
    assert not path.exists()
    with pytest.raises(ValueError, match="stop"), write_artifact(path, "features"):
        raise ValueError("stop")
    assert open_artifact(path, "features").space == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["features"]


def test_a_file_system_without_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of the old folder."""
    monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    write(tmp_path / "features", "old")
    write(tmp_path / "features", "new")
    assert open_artifact(tmp_path / "features", "features").space == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["features"]


def test_a_rename_that_fails_puts_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "features", "old")
    monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    rename, calls = Path.rename, []

    def second_fails(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise OSError("no space")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(OSError, match="no space"):
        write(tmp_path / "features", "new")
    assert open_artifact(tmp_path / "features", "features").space == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["features"]


def test_two_writers_in_two_processes(tmp_path: Path) -> None:
    """Neither sweeps the other's temporary; the one that ends last stays."""
    path = tmp_path / "features"
    command = [sys.executable, "-c", WAITING, str(path), "slow"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as slow:
        assert slow.stdout is not None
        assert slow.stdout.readline() == "inside\n"
        write(path, "quick")
        assert open_artifact(path, "features").space == "quick"
        slow.communicate("go on\n", timeout=60)
    assert slow.returncode == 0
    assert open_artifact(path, "features").space == "slow"
    assert [p.name for p in tmp_path.iterdir()] == ["features"]


def test_two_writers_in_one_process(tmp_path: Path) -> None:
    path = tmp_path / "features"
    with write_artifact(path, "features", space="outer") as outer:
        (outer / "who").write_text("outer")
        write(path, "inner")
        assert (outer / "who").exists()
    assert open_artifact(path, "features").space == "outer"


def test_what_a_run_with_our_process_number_left_is_swept(tmp_path: Path) -> None:
    """In a container every run may have the same number; judged by it, leftovers stay for ever."""
    left = tmp_path / f".features.tmp-{os.getpid()}-abc"
    left.mkdir()
    write(tmp_path / "features", "new")
    assert not left.exists()


def test_other_outputs_are_not_swept(tmp_path: Path) -> None:
    """Names are no patterns: ``*`` and ``a[1]``."""
    for other in (".b.tmp-1-x", ".features.tmp-1-x", ".a1.tmp-1-x", ".old.tmp-1-x.old"):
        (tmp_path / other).mkdir()
    for name in ("*", "a[1]", "fea"):
        write(tmp_path / name, "s")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == [
        ".a1.tmp-1-x", ".b.tmp-1-x", ".features.tmp-1-x", ".old.tmp-1-x.old",
    ]  # fmt: skip
    left = tmp_path / ".a[1].tmp-1-x"
    left.mkdir()
    write(tmp_path / "a[1]", "s")
    assert not left.exists()


def test_a_folder_that_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network mounts without locks: writing works, and dead owners are told by process id."""

    def no_locks(handle: int, flags: int) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    dead, alive = tmp_path / ".features.tmp-4194305-x", tmp_path / f".features.tmp-{os.getppid()}-x"
    dead.mkdir()
    alive.mkdir()
    write(tmp_path / "features", "new")
    assert not dead.exists()
    assert alive.exists()


def test_a_lock_somebody_keeps_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a user locks the output's parent around the whole command."""
    monkeypatch.setattr(locks, "_PATIENCE_S", 0.0)
    handle = os.open(tmp_path, os.O_RDONLY)
    files.fcntl.flock(handle, files.fcntl.LOCK_EX)
    try:
        write(tmp_path / "features", "new")
    finally:
        os.close(handle)
    assert open_artifact(tmp_path / "features", "features").space == "new"


def test_write_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "new" / "a.json"
    write_atomic(file, b"old")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        write_atomic(file, b"new")
    assert file.read_bytes() == b"old"
    assert [p.name for p in file.parent.iterdir()] == ["a.json"]


def null_device(folder: Path) -> Path:
    """A node like /dev/null that a test may lose."""
    try:
        os.mknod(folder / "null", 0o020666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes device nodes")
    return folder / "null"


def test_a_device_stays_one(tmp_path: Path) -> None:
    """Replaced by a rename, /dev/null would be a file and the machine broken."""
    node = null_device(tmp_path)
    (tmp_path / "link").symlink_to(node)
    for path in (node, tmp_path / "link"):
        write_atomic(path, b"gone")
        assert stat.S_ISCHR(node.stat().st_mode)
    assert (tmp_path / "link").is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "null"]


def test_a_pipe_is_written(tmp_path: Path) -> None:
    """Its reader would wait for ever at a pipe that became a file."""
    pipe, got = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_atomic(pipe, b"a line\n" * 20_000)
    reader.join(30)
    assert got == [b"a line\n" * 20_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_links_are_followed(tmp_path: Path) -> None:
    """To files that are there and to one that is not yet; permissions stay."""
    (tmp_path / "far").mkdir()
    real = tmp_path / "far" / "real"
    real.write_text("old")
    real.chmod(0o600)
    (tmp_path / "link").symlink_to("far/real")
    (tmp_path / "again").symlink_to("link")
    (tmp_path / "dangling").symlink_to("far/new")
    write_atomic(tmp_path / "again", b"new")
    write_atomic(tmp_path / "dangling", b"made")
    assert (real.read_text(), (tmp_path / "far" / "new").read_text()) == ("new", "made")
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert all((tmp_path / n).is_symlink() for n in ("link", "again", "dangling"))


def test_a_link_to_a_folder_that_is_not_yet(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("far/new")
    with files.replacing(tmp_path / "link", check=lambda: None) as folder:
        (folder / "a").write_text("a")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "new" / "a").read_text() == "a"


def test_open_files_of_this_process(tmp_path: Path) -> None:
    """/dev/stdout and >(command): what was written there before stays."""
    with (tmp_path / "log").open("wb", buffering=0) as stream:
        stream.write(b"before ")
        for name in (f"/dev/fd/{stream.fileno()}", f"/proc/self/fd/{stream.fileno()}"):
            assert output_file(name).through
            write_atomic(Path(name), b"after ")
    assert (tmp_path / "log").read_bytes() == b"before after after "
    assert output_file("/dev/stdout").through


def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="found the folder"):
        write_atomic(tmp_path, b"")
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    with pytest.raises(OSError, match="symbolic links"):
        write_atomic(circle, b"")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # the names of sockets are short
        listener.bind("s")
        with pytest.raises(UsageError, match="found the socket"):
            write_atomic(tmp_path / "s", b"")
    try:
        os.mknod(tmp_path / "disk", 0o060600, os.makedev(7, 250))
    except PermissionError:
        return
    with pytest.raises(UsageError, match="found the disk"):
        output_file(tmp_path / "disk")


def test_an_output_that_is_read(tmp_path: Path) -> None:
    """By its name, by a link, by a second name of the file, and inside an artifact."""
    video, model = tmp_path / "v.mp4", tmp_path / "model"
    video.write_bytes(b"film")
    (tmp_path / "soft").symlink_to(video)
    (tmp_path / "hard").hardlink_to(video)
    write(model, "s")
    (tmp_path / "m").symlink_to(model)
    for out in (video, tmp_path / "soft", tmp_path / "hard", model / "who", tmp_path / "m" / "new"):
        with pytest.raises(UsageError, match="expected a place of its own"):
            output_file(out, [tmp_path / "nothing", video, model])
    assert output_file(tmp_path / "other.mp4", [video, model]).path == tmp_path / "other.mp4"
    for folder in (model, model / "deep" / "er", tmp_path, tmp_path / "m"):
        with pytest.raises(UsageError, match="choose another `save`"):
            check_output_folder(folder, [model], name="save")
    check_output_folder(tmp_path / "model2", [model])


def test_scratch_of_killed_runs_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the next run with the same prefix; those of living runs stay."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "import os, pathlib, signal, sys, tempfile\n"
        "tempfile.tempdir = sys.argv[1]\n"
        "from edgevpr.files import scratch\n"
        "with scratch('edgevpr-export-') as folder:\n"
        "    (folder / 'model.onnx').write_text('x')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)])
    (left,) = tmp_path.iterdir()
    with scratch("edgevpr-export-") as first, scratch("edgevpr-export-") as second:
        assert first.is_dir()
        assert second.is_dir()
        assert not left.exists()
        (first / "model.onnx").write_text("x")
    with pytest.raises(KeyboardInterrupt), scratch("edgevpr-export-"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


MOUNTED = """
import sys
from pathlib import Path
from edgevpr.errors import UsageError
from edgevpr.files import check_output_folder, output_file, replacing, write_atomic

def swapped(path):
    with replacing(path, lambda: None):
        raise AssertionError("the work would be done before it fails")

file, folder = Path("a file"), Path("folder").absolute()
for write, path in (
    (output_file, file), (lambda path: write_atomic(path, b"new"), file),
    (check_output_folder, folder), (swapped, folder),
):
    try:
        write(path)
    except UsageError as error:
        assert "where something is mounted" in str(error), error
    else:
        raise AssertionError(path)
check_output_folder(folder, filled=True)
write_atomic(folder / "inside", b"new")
with replacing(folder / "within", lambda: None) as temporary:
    (temporary / "x").touch()
print(file.read_text(), (folder / "inside").read_text(), (folder / "within" / "x").exists())
"""


def test_places_where_something_is_mounted(tmp_path: Path) -> None:
    """A rename onto them fails, at the end of the work. Inside of them all is well."""
    for folder in ("folder", "other"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a file").write_text("old")
    (tmp_path / "b").write_text("mounted")
    line = "mount --bind b 'a file' && mount --bind other folder"
    if subprocess.run(["unshare", "-rm", "sh", "-c", line], cwd=tmp_path).returncode:
        pytest.skip("this user may not mount")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'{line} && exec "$0" -c "$1"', sys.executable, MOUNTED],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout == "mounted new True\n"
