"""Verbs killed at random moments: what is read, what was written, what is left, and the next run.

    python benchmarks/kills.py -o FOLDER [--kills 4] [--verb NAME ...] [--seed 0]

Every verb that writes is ended by SIGKILL, SIGTERM or SIGINT at a random moment, beside an earlier
output or none. Then: its inputs are the same to the byte; its output is the earlier one, none, or
the whole new one, and opens; the temporary folder is empty; no process is left; and the same
command, given again, ends well and leaves nothing beside its output. What a SIGKILL left in the
temporary folder may stay until then. FOLDER keeps the small world that all verbs work on. The exit
code is 1 where anything was found.
"""

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.kill_list import OLD, VERBS, WORLD, Verb

ROOT = Path(__file__).resolve().parents[1]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
#: Seconds that a verb may take to end after a signal, or to end at all.
PATIENCE_S = 300
#: What can go wrong, as the closing line counts it.
FAULTS = (
    "inputs changed",
    "half-written outputs",
    "left in the temporary folder",
    "that would not run again",
    "left beside the output",
    "without their sentence",
    "processes left",
)


class Kills:
    """Runs command lines in processes of their own, ends them, and counts what is wrong after.

    Args:
        root: folder of the world, and of the outputs while they are looked at.
        seed: of the moments, the signals, and whether there is an earlier output.
    """

    def __init__(self, root: Path, seed: int = 0) -> None:
        self.world, self.work, self.tmp = root / "world", root / "work", root / "tmp"
        self.rng = np.random.default_rng(seed)
        self.kills: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.tmp),
            "EDGEVPR_CACHE": str(root / "cache"),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, words: Sequence[str]) -> "subprocess.Popen[bytes]":
        with (self.work.parent / "said").open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "edgevpr", *words],
                env=self.environment, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip

    def said(self) -> str:
        """What the last process wrote."""
        return (self.work.parent / "said").read_text(errors="replace").strip()

    def run(self, words: Sequence[str]) -> int:
        """Exit code of a command line that is left alone."""
        process = self.start(words)
        try:
            return process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return -1

    def words(self, line: str) -> list[str]:
        return [word.format(w=self.world, o=self.work) for word in line.split()]

    def make_world(self) -> None:
        """What the verbs read; what is there already is kept."""
        self.world.mkdir(parents=True, exist_ok=True)
        for line in WORLD:
            words = self.words(line)
            if Path(words[words.index("-o") + 1]).exists():
                continue
            self.tmp.mkdir(exist_ok=True)
            code = self.run(words)
            if code:
                raise SystemExit(f"{' '.join(words)}: code {code}: {self.said()}")
        changed = self.world / "changed"
        if not changed.exists():
            shutil.copytree(self.world / "gallery", changed)
            assert not self.run(["gallery", "remove", str(changed), "--place", "2"]), self.said()
        self._photos()

    def _photos(self) -> None:
        photos, rows = self.world / "photos", ["path,lat,lon"]
        photos.mkdir(exist_ok=True)
        found = sorted((self.world / "city" / "images").rglob("*.jpg"))
        for i in range(400):
            shutil.copyfile(found[i % len(found)], photos / f"{i:03d}.jpg")
            rows.append(f"{i:03d}.jpg,{48 + i / 1e4:.6f},11.5")
        (self.world / "photos.csv").write_text("\n".join(rows) + "\n")

    def checkpoint(self) -> None:
        """A checkpoint of a published network's shape, its weights random."""
        if not (self.world / "net.pth").exists():
            code = (
                "import sys, torch; from edgevpr.train.networks import published as p; "
                "from edgevpr.train.networks.network import Network; torch.save({'state_dict': "
                "Network(p.PUBLISHED['boq-dinov2'].architecture).state_dict()}, sys.argv[1])"
            )
            subprocess.run(
                [sys.executable, "-c", code, str(self.world / "net.pth")],
                check=True, env=self.environment,
            )  # fmt: skip

    def place_earlier(self, verb: Verb, there: bool) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        for name, what in verb.earlier.items() if there else ():
            if what == OLD:
                (self.work / name).write_text(what)
            else:
                shutil.copytree(self.world / what, self.work / name)

    def kill(self, name: str, verb: Verb, seconds: float) -> None:
        """One kill and all checks after it.

        Args:
            seconds: that the command line takes when it is left alone.
        """
        inputs = [self.world / each for each in verb.inputs.split()]
        before = [digest(each) for each in inputs]
        there = verb.in_place or (not verb.once and bool(self.rng.integers(2)))
        self.place_earlier(verb, there)
        old = {each: digest(self.work / each) for each in verb.outputs}
        which = SIGNALS[int(self.rng.integers(len(SIGNALS)))]
        moment = float(self.rng.uniform(0.02, 0.97)) * seconds
        group = which == signal.SIGINT and bool(self.rng.integers(2))  # as a terminal does

        process = self.start(self.words(verb.words))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        if process.poll() is None:
            self.kills[name] += 1
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(process.pid, which)
        process.wait(PATIENCE_S)
        self.at = f"{name}: {which.name}{' to all' * group} after {moment:.2f} of {seconds:.2f} s"
        self._check_alone(process.pid)
        self._check_inputs(inputs, before)
        said, new = self.said(), self._check_outputs(verb, old)
        if which != signal.SIGKILL and not well_ended(process.returncode, which, said, new):
            self.fault("without their sentence", f"code {process.returncode}: {said[-1500:]}")
        left = list_of(self.tmp)
        if which != signal.SIGKILL and left:
            self.fault("left in the temporary folder", " ".join(left))

        code = self.run(self.words(verb.words))
        again = self.said()
        done = (verb.in_place or verb.once) and new
        if code and not done:
            self.fault("that would not run again", f"code {code}: {again[-600:]}")
        self._check_outputs(verb, dict.fromkeys(old, ""))
        self._check_inputs(inputs, before)
        if left := list_of(self.tmp):
            self.fault("left in the temporary folder", " ".join(left))
            shutil.rmtree(self.tmp)
            self.tmp.mkdir()
        known = {*verb.outputs, *(f".{each}.generations" for each in verb.outputs)}
        if left := [each for each in list_of(self.work) if each not in known]:
            self.fault("left beside the output", " ".join(left))

    def _check_alone(self, group: int) -> None:
        end = time.monotonic() + 10
        while alive(group):
            if time.monotonic() > end:
                self.fault("processes left", "")
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
                break
            time.sleep(0.05)

    def _check_inputs(self, inputs: Sequence[Path], before: Sequence[str]) -> None:
        for path, was in zip(inputs, before, strict=True):
            if digest(path) != was:
                self.fault("inputs changed", path.name)

    def _check_outputs(self, verb: Verb, old: Mapping[str, str]) -> bool:
        """Whether all outputs are new ones; counts those that are neither old nor whole."""
        new = True
        for name, check in verb.outputs.items():
            path = self.work / name
            if digest(path) == old[name]:
                new = False
                continue
            try:
                check(path)
            except Exception as error:
                self.fault("half-written outputs", f"{name}: {type(error).__name__} {error}")
        return new

    def fault(self, kind: str, what: str) -> None:
        self.faults[kind] += 1
        print(f"FOUND {kind}: {self.at}\n  {what}", flush=True)

    def verb(self, name: str, verb: Verb, count: int) -> None:
        """``count`` kills of one command line, after a run of it that is left alone."""
        if name == "models":
            self.checkpoint()
        self.tmp.mkdir(exist_ok=True)
        self.place_earlier(verb, verb.in_place)
        started = time.monotonic()
        code = self.run(self.words(verb.words))
        seconds = time.monotonic() - started
        if code:
            raise SystemExit(f"{verb.words}: code {code}: {self.said()}")
        print(f"{name}: {seconds:.1f} s when left alone", flush=True)
        while self.kills[name] < count:
            self.kill(name, verb, seconds)

    def closing(self) -> str:
        counts = ", ".join(f"{self.faults[kind]} {kind}" for kind in FAULTS)
        return f"{sum(self.kills.values())} kills over {len(self.kills)} verbs: {counts}"


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's names and files; the empty string for nothing."""
    if not path.exists():
        return ""
    found = hashlib.sha256()
    for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
        found.update(os.fsencode(each.relative_to(path)) + b"\0")
        if each.is_file():
            found.update(each.read_bytes())
    return found.hexdigest()


def well_ended(code: int, which: signal.Signals, said: str, new: bool) -> bool:
    """Whether a process ended as an interrupted one should.

    Before the interpreter comes to edgevpr, and after it is through with it, it ends by itself:
    with a traceback of its own modules, or by the signal. After Ctrl-C it may end by the signal
    when all is said, which is 130 in a shell, too.
    """
    if "interrupted" in said:
        return "Traceback" not in said and (code == 130 or code == -which == -signal.SIGINT)
    if new:
        return "Traceback" not in said and code in (0, 130, -which)
    return str(ROOT) not in said and code in (-which, 1)


def list_of(path: Path) -> list[str]:
    """Names in a folder, less what torch and ONNX Runtime keep for all of a user's processes."""
    names = (each.name for each in path.iterdir())
    return sorted(n for n in names if not n.startswith("torchinductor_") and n != ".ses")


def alive(group: int) -> bool:
    """Whether a process of this group runs."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state != "Z":
                return True
    return False


def main() -> None:
    """Kill the verbs that are named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=5, help="of each verb")
    parser.add_argument("--verb", choices=VERBS, action="append", help="only this one; repeatable")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    kills = Kills(given.output.absolute(), given.seed)
    kills.make_world()
    for name in given.verb or VERBS:
        kills.verb(name, VERBS[name], given.kills)
    print(kills.closing())
    sys.exit(bool(kills.faults))


if __name__ == "__main__":
    main()
