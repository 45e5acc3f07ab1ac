"""Start-up time of the command line and of the public face.

    python benchmarks/startup.py [--repeat 15]

A fresh interpreter each time, wall clock, bytecode already compiled. The goal is under 0.3 s for
``edgevpr --help``.
"""

import argparse
import statistics
import subprocess
import sys
import time

CASES = {
    "python -c pass": ["-c", "pass"],
    "edgevpr --help": ["-m", "edgevpr", "--help"],
    "edgevpr devices": ["-m", "edgevpr", "devices"],
    "edgevpr doctor": ["-m", "edgevpr", "doctor"],
    "import edgevpr": ["-c", "import edgevpr"],
    "edgevpr.open_localizer": ["-c", "import edgevpr; edgevpr.open_localizer"],
    "import edgevpr.runtime": ["-c", "import edgevpr.runtime"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=15, help="runs of each, after one untimed")
    repeat = parser.parse_args().repeat
    print(f"{'command':26} {'median':>8} {'max':>8}   of {repeat} runs, seconds")
    for name, arguments in CASES.items():
        run(arguments)
        seconds = sorted(run(arguments) for _ in range(repeat))
        print(f"{name:26} {statistics.median(seconds):8.3f} {seconds[-1]:8.3f}")


def run(arguments: list[str]) -> float:
    """Wall seconds of one interpreter with these arguments."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
