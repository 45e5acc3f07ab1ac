"""Atomic writes: killed writers, two writers, file systems without the swap."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from edgevpr import files
from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.files import scratch, write_atomic

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
    monkeypatch.setattr(files, "_PATIENCE_S", 0.0)
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
