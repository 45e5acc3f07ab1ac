"""The command line in odd surroundings: closed descriptors, signals at any moment."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgevpr.cli.process import interruptible


def shell(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = f'"$0" -m edgevpr "$@" {redirection}'
    return subprocess.run(
        ["sh", "-c", line, sys.executable, *arguments], capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("redirection", "out", "err"),
    [("<&-", True, True), (">&-", False, True), ("2>&-", True, False), ("<&- >&- 2>&-", 0, 0)],
)
def test_closed_descriptors(redirection: str, out: bool, err: bool) -> None:
    """What is for a closed one goes nowhere, not into the other or into a file."""
    done = shell(redirection, "devices", "cpu")
    assert done.returncode == 0
    assert bool(done.stdout) == bool(out)
    failed = shell(redirection, "devices", "none-such")
    assert failed.returncode == 2
    assert failed.stdout == ""
    assert bool(failed.stderr) == bool(err)
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_interrupt(number: signal.Signals) -> None:
    """Blocks clean up; afterwards signals do what they did."""
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interruptible():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_ignored_signals_stay_ignored() -> None:
    """nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_forked_processes_end_by_the_signal() -> None:
    """A pool that terminates its workers does not make them print tracebacks."""
    with interruptible():
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(1)
        status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGTERM


CALL = """
import os, signal, sys
from pathlib import Path
from edgevpr.cli import main
from edgevpr.files import scratch

def run(words):
    with scratch("edgevpr-export-") as folder:
        print(folder, flush=True)
        os.kill(os.getpid(), int(sys.argv[1]))
        signal.pause()

main.run = run
main.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_verbs_leave_no_folder(number: signal.Signals) -> None:
    """Code 130, one sentence, and the temporary folder is gone."""
    done = subprocess.run(
        [sys.executable, "-c", CALL, str(int(number))], capture_output=True, text=True
    )
    assert done.returncode == 130
    assert done.stderr.startswith("edgevpr: interrupted")
    assert done.stderr.count("\n") == 1
    assert not Path(done.stdout.strip()).exists()


#: The command, which gets a signal when it first looks for a module, or when it is through.
AT_A_MODULE = """
import atexit, os, sys

number, module = int(sys.argv[1]), sys.argv[2]
del sys.argv[1:3]

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), number)

sys.meta_path.insert(0, Finder())
from edgevpr.__main__ import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("module", ["edgevpr.cli.main", "typer", "edgevpr.cli.doctor", "numpy"])
def test_a_signal_while_modules_are_imported(number: signal.Signals, module: str) -> None:
    """Neither a traceback nor an end by the signal."""
    done = subprocess.run(
        [sys.executable, "-c", AT_A_MODULE, str(int(number)), module, "doctor"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stderr.startswith("edgevpr: interrupted")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


AT_THE_END = """
import os, signal, sys
from edgevpr.cli import main, process

class Last:
    def __del__(self, kill=os.kill, process=os.getpid(), number=int(sys.argv[1])):
        kill(process, number)  # names of modules are gone by then

process.end_at_once()
main.run = lambda words: print("done", flush=True)
main.main()
sys.modules["of the interpreter's last moments"] = Last()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_verb(number: signal.Signals) -> None:
    """While the interpreter takes itself down, a verb that has succeeded has code 0."""
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END, str(int(number))], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_an_error_made_of_an_interruption() -> None:
    """Extension modules turn a KeyboardInterrupt into an ImportError."""
    code = (
        "import os, signal\n"
        "from edgevpr.cli import main\n"
        "def run(words):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        signal.pause()\n"
        "    except KeyboardInterrupt:\n"
        "        raise ImportError('initialization failed') from None\n"
        "main.run = run\n"
        "main.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (130, 1)
    assert done.stderr.startswith("edgevpr: interrupted")


@pytest.mark.parametrize(("number", "stream"), [(1, "stdout"), (2, "stderr")])
def test_a_descriptor_that_can_only_be_read(tmp_path: Path, number: int, stream: str) -> None:
    """A shell opens its script under the number that is closed, and hands it on with exec."""
    script = tmp_path / "edgevpr"
    script.write_text(f'exec "{sys.executable}" -m edgevpr "$@" {number}< "$0"\n')
    done = subprocess.run(
        ["sh", str(script), "devices", "none-such"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert getattr(done, stream) == ""
    done = subprocess.run(["sh", str(script), "devices", "cpu"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_interrupt_in_the_making_of_a_class(tmp_path: Path) -> None:
    """Ends with 130, too: Python remembers one that came while it executed a text."""
    program = (
        "import sys; from edgevpr.cli import main; sys.argv = ['edgevpr', 'doctor']\n"
        "main.run = lambda words: exec('raise KeyboardInterrupt')\n"
        "main.main()"
    )
    (tmp_path / "odd.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-m", "odd"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 130
    assert done.stderr.startswith("edgevpr: interrupted: ")
