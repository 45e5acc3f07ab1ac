"""Chain of ``edgevpr demo``: from a synthetic city to a report, through the verbs a user types."""

import contextlib
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import msgspec

from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.manifest import read_json, write_json
from edgevpr.artifacts.records import ProfileRecord, ProfileRow
from edgevpr.city.thumbnail import thumbnail_recall
from edgevpr.data import read_images
from edgevpr.demo.demo_page import demo_report
from edgevpr.demo.exit_rows import DeadlineRun, ExitRow, deadline_between, deadline_run, exit_rows
from edgevpr.demo.score_drive import DriveScore, drive_score
from edgevpr.errors import EdgeVPRError, UsageError
from edgevpr.files import write_atomic

#: The rows of the closing table, in its order.
CONFIGURATIONS = ("gallery-exact", "query-exact", "query-ivfpq", "query-int8-ivfpq")

#: Where the query network can be left; "full" comes with them.
EXITS = ("1.1", "2.1")

BOQ = ("proj_channels=128", "num_queries=16", "num_layers=2", "row_dim=8")
SHARED = ("--image-size", "128", "--input-norm", "instance", "--min-lr", "1e-5")
GALLERY = (
    "--backbone", "resnet18", "--out-index", "3", "--loss", "supcon",
    "--lr", "3e-4", "--warmup-steps", "8",
)  # fmt: skip
QUERY = (
    "--backbone", "mobilevitv2_050", "--out-index", "3", "--lr", "1e-3", "--warmup-steps", "10",
)  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """Sizes of the city and the trainings; the defaults take two CPU cores 8 minutes at most."""

    gallery_epochs: int = 1
    query_epochs: int = 1
    codebook_epochs: int = 5
    exit_epochs: int = 6
    #: prototypes of each head of the codebook.
    codebook_size: int = 256
    #: further options of ``edgevpr city``.
    city: tuple[str, ...] = ()


class Row(msgspec.Struct, frozen=True):
    """One configuration of the closing table; times in ms on this machine, recall in percent."""

    configuration: str
    r1: float | None
    r5: float | None
    engine_ms_p50: float
    engine_ms_p95: float
    search_ms_p50: float
    end_to_end_ms_p50: float
    end_to_end_ms_p95: float
    bytes_per_image: float | None


class DemoSummary(msgspec.Struct, frozen=True):
    """Content of ``summary.json``."""

    seconds: float
    report: str
    rows: list[Row]
    #: early exits of the query network, earliest first and "full" last.
    exits: list[ExitRow]
    #: the drive once more, each frame by the deepest exit in time.
    deadline: DeadlineRun
    #: seconds of each command line, in order.
    steps: dict[str, float]
    #: R@1 and R@5 of a 32x32 grey thumbnail's nearest neighbour on the same test queries.
    thumbnail_r1: float
    thumbnail_r5: float
    drive: DriveScore


@dataclass
class Chain:
    """Runs verbs in order, printing each command line and keeping its seconds."""

    run_verb: Callable[[list[str]], object]
    print_line: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    def verb(self, *arguments: str | Path) -> None:
        """Run a verb in this process: torch is loaded once for all verbs that need it."""
        with self._timed(arguments) as words, contextlib.redirect_stdout(sys.stderr):
            self.run_verb(words)

    def device_verb(self, *arguments: str | Path) -> None:
        """Run a verb in a process of its own, as on a device: no torch beside what is timed."""
        with self._timed(arguments) as words:
            done = subprocess.run([sys.executable, "-m", "edgevpr", *words], stdout=sys.stderr)
        if done.returncode == 130:
            raise KeyboardInterrupt
        if done.returncode:
            raise EdgeVPRError(
                f"found exit code {done.returncode} of edgevpr {words[0]}, expected 0: see its "
                f"message above, or run it again: edgevpr {shlex.join(words)}"
            )

    @contextlib.contextmanager
    def _timed(self, arguments: tuple[str | Path, ...]) -> Iterator[list[str]]:
        words = [str(a) for a in arguments]
        line = f"edgevpr {shlex.join(words)}"
        self.print_line(f"\n$ {line}")
        started = time.perf_counter()
        yield words
        self.seconds[line] = round(time.perf_counter() - started, 1)


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    from_scratch: bool = False,
    budget: Budget | None = None,
    run_verb: Callable[[list[str]], object],
    print_line: Callable[[str], None],
) -> DemoSummary:
    """Run the chain below ``out``, which a new run replaces; returns the content of summary.json.

    Args:
        out: folder to write to.
        seed: of the city and of every training.
        from_scratch: train both networks from random weights instead of the ones shipped, which
            were trained on other cities.
        budget: of the city and the trainings.
        run_verb: runs a command line, without the leading ``edgevpr``, in this process.
        print_line: prints a line.

    Raises:
        UsageError: ``out`` holds something that is no demo's output.
    """
    _prepare(out)
    started = time.perf_counter()
    budget = budget or Budget()
    chain = Chain(run_verb, print_line)
    city = out / "city"
    test = city / "images" / "test"

    chain.verb("city", "-o", city, "--seed", str(seed), *budget.city)
    _train(chain, out, seed, budget, from_scratch)
    _train_exits(chain, out, seed, budget)
    _index(chain, out, test / "tuning")
    _compile(chain, out, city / "gsv-cities")
    chain.device_verb(
        "run", city / "drive" / "drive.mp4", "--bundle", out / "bundles" / "cpu-int8",
        "--gallery", out / "gallery", "-o", out / "drive.jsonl",
    )  # fmt: skip
    records = _profile(chain, out, test / "queries")

    exits = exit_rows(records[-1])
    deadline_ms = deadline_between(exits)
    chain.device_verb(
        "run", city / "drive" / "drive.mp4", "--bundle", out / "bundles" / "cpu-fp32-exits",
        "--gallery", out / "gallery", "--exit", f"deadline:{deadline_ms:g}",
        "-o", out / "drive-deadline.jsonl",
    )  # fmt: skip
    rows = _closing_rows(records)
    thumbnail = thumbnail_recall(test)
    report = out / "report.html"
    database, truth = read_images(test / "database"), city / "drive" / "drive.csv"
    summary = DemoSummary(
        seconds=round(time.perf_counter() - started, 1),
        report=str(report),
        rows=[_row(row) for row in rows],
        steps=chain.seconds,
        thumbnail_r1=thumbnail.at[1],
        thumbnail_r5=thumbnail.at[5],
        drive=drive_score(out / "drive.jsonl", truth, database),
        exits=exits,
        deadline=deadline_run(out / "drive-deadline.jsonl", truth, database, deadline_ms),
    )
    write_atomic(report, demo_report(out, records, rows, msgspec.to_builtins(summary)).encode())
    write_json(out / "summary.json", summary)
    return summary


def _train(chain: Chain, out: Path, seed: int, budget: Budget, from_scratch: bool) -> None:
    """Both networks, and the gallery network's features of the city's images."""
    images = out / "city" / "images"
    training, validation = out / "city" / "gsv-cities", images / "val"
    gallery, features = out / "gallery-network", out / "features"
    aggregator = [word for pair in BOQ for word in ("--aggregator-args", pair)]
    common = [*SHARED, *aggregator, "--seed", str(seed)]
    chain.verb(
        "train", training, "-o", gallery, *GALLERY, *common,
        "--epochs", str(budget.gallery_epochs), "--validation", validation,
        *_starting_weights("gallery", from_scratch),
    )  # fmt: skip
    for name, folder in {
        "training": training,
        "validation": validation / "database",
        "map": images / "test" / "database",
    }.items():
        chain.verb("embed", gallery, folder, "-o", features / name)
    chain.verb(
        "train", training, "-o", out / "query-network", "--features", features / "training",
        *QUERY, *common, "--epochs", str(budget.query_epochs), "--validation", validation,
        "--validation-features", features / "validation", "--aggregator-from", gallery,
        *_starting_weights("query", from_scratch),
    )  # fmt: skip


def _train_exits(chain: Chain, out: Path, seed: int, budget: Budget) -> None:
    """The codebook of the query network's tokens, then its early exits, on one training city.

    Images are not augmented, so what the frozen network gives is computed once. The full path of
    ``anytime-network`` is the query network to the bit: it takes its place from here on.
    """
    training, validation = out / "city" / "gsv-cities", out / "city" / "images" / "val"
    city = min(folder.name for folder in (training / "Images").iterdir())
    chain.verb(
        "codebook", out / "query-network", training / "Images" / city,
        "--size", str(budget.codebook_size), "--epochs", str(budget.codebook_epochs),
        "--seed", str(seed), "-o", out / "codebook",
    )  # fmt: skip
    chain.verb(
        "train", training, "--city", city, "--anytime", out / "query-network",
        "--codebook", out / "codebook", "--exits", ",".join(EXITS), "--method", "composition",
        "--features", out / "features" / "training", "--crop", "1", "--light", "0",
        "--epochs", str(budget.exit_epochs), "--seed", str(seed), "--validation", validation,
        "--validation-features", out / "features" / "validation", "-o", out / "anytime-network",
    )  # fmt: skip


def _index(chain: Chain, out: Path, tuning: Path) -> None:
    """One gallery, tuned for the full path and for each exit."""
    features, queries = out / "features", list[str | Path]()
    for exit in ("", *EXITS):
        described = features / (f"tuning-{exit}" if exit else "tuning")
        left = ("--exit", exit) if exit else ()
        chain.verb("embed", out / "anytime-network", tuning, *left, "-o", described)
        queries += ["--queries", described]
    chain.verb("index", features / "map", *queries, "-o", out / "gallery")


def _compile(chain: Chain, out: Path, calibration: Path) -> None:
    """Bundles: the two that are measured with exact search, then one a target and precision; last
    the one with exits."""
    bundles, gallery = out / "bundles", ("--gallery", out / "gallery")
    fp32 = ("--target", "cpu", "--precision", "fp32", "--calibration", calibration)
    anytime, whole = out / "anytime-network", ("--exits", "none")
    chain.verb("compile", out / "gallery-network", *fp32, "-o", bundles / "gallery-cpu-fp32")
    chain.verb("compile", anytime, *whole, *fp32, "-o", bundles / "cpu-fp32-full")
    for target, precision in (
        ("cpu", "fp32"), ("cpu", "int8"), ("rtx-ada", "fp16"), ("rtx-ada", "int8"),
        ("jetson-orin", "fp16"),
    ):  # fmt: skip
        chain.verb(
            "compile", anytime, *whole, "--target", target, "--precision", precision,
            *gallery, "--calibration", calibration, "-o", bundles / f"{target}-{precision}",
        )  # fmt: skip
    chain.verb("compile", anytime, *fp32, *gallery, "-o", bundles / "cpu-fp32-exits")


def _profile(chain: Chain, out: Path, queries: Path) -> list[ProfileRecord]:
    """The four configurations and last the early exits, each on the same test queries, in
    processes of their own."""
    bundles, full = out / "bundles", out / "features" / "map"
    measured: dict[str, tuple[str, str, str]] = {
        "gallery": ("gallery-cpu-fp32", "gallery-ivfpq", "gallery-exact"),
        "full": ("cpu-fp32-full", "query-ivfpq-unfused", "query-exact"),
        "fp32": ("cpu-fp32", "query-ivfpq", ""),
        "int8": ("cpu-int8", "query-int8-ivfpq", ""),
        "exits": ("cpu-fp32-exits", "query-exit", ""),
    }
    records = []
    for name, (bundle, configuration, exact_name) in measured.items():
        exact = ("--features", full, "--exact-name", exact_name) if exact_name else ()
        chain.device_verb(
            "profile", queries, "--bundle", bundles / bundle, "--gallery", out / "gallery",
            "--name", configuration, *exact, "-o", out / "profiles" / name,
        )  # fmt: skip
        opened = open_artifact(out / "profiles" / name, "profile")
        records.append(read_json(opened.file("profile.json"), ProfileRecord))
    return records


def _closing_rows(records: list[ProfileRecord]) -> list[ProfileRow]:
    rows = {row.configuration: row for record in records for row in record.rows}
    return [rows[name] for name in CONFIGURATIONS]


def _row(row: ProfileRow) -> Row:
    return Row(**{name: getattr(row, name) for name in Row.__struct_fields__})


def _starting_weights(role: str, from_scratch: bool) -> list[str]:
    """The shipped start of a network, trained on other cities (docs/reproduce.md says how)."""
    if from_scratch:
        return []
    path = resources.files("edgevpr") / "demo" / "weights" / f"{role}.safetensors"
    return ["--weights", str(path)]


def _prepare(out: Path) -> None:
    marker = out / "demo"
    if out.exists() and any(out.iterdir()) and not marker.exists():
        raise UsageError(
            f"found something else at {out}, expected nothing or an earlier demo's output: pass "
            "another `out` (nothing was changed)"
        )
    write_atomic(marker, b"edgevpr demo\n")
