"""Share of fixes whose covariance holds the true position.

    python benchmarks/fix_covariance.py ANSWERS.jsonl TRUTH.csv

ANSWERS are the lines of ``edgevpr run``; TRUTH has the columns ``frame``, ``lat`` and ``lon``. A
covariance that is right has the truth inside its 95 % ellipse for 95 of 100 fixes. Takes seconds;
independent of the machine.
"""

import argparse
import csv
from pathlib import Path

import msgspec
import numpy as np

from edgevpr.places.wgs84 import east_north
from edgevpr.runtime.answers import Answer
from edgevpr.runtime.sinks import position

#: Chi squared with two degrees of freedom at 95 %.
ELLIPSE = 5.991
RIGHT_M = 25.0
#: Answers of galleries without a confidence model count as well.
RULE = position.FixRule(assume_known=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("answers", type=Path)
    parser.add_argument("truth", type=Path)
    args = parser.parse_args()
    truth = {int(r["frame"]): (float(r["lat"]), float(r["lon"])) for r in csv.DictReader(
        args.truth.open()
    )}  # fmt: skip
    lines = args.answers.read_bytes().splitlines()
    answers = [
        msgspec.json.decode(line, type=Answer) for line in lines if b'"error"' not in line[:200]
    ]
    fixes = [a for a in answers if RULE.fix(a) is not None and a.frame in truth]
    errors = np.array([east_north(*truth[a.frame], (a.lat or 0, a.lon or 0)) for a in fixes])
    far = np.hypot(*errors.T)
    right = far <= RIGHT_M
    print(
        f"{len(fixes)} fixes of {len(answers)} answers, {right.mean():.1%} within {RIGHT_M:g} m\n"
    )
    print("| score scale | truth in the 95 % ellipse | of wrong fixes | deviation, right fixes "
          "| wrong fixes |")  # fmt: skip
    print("|---|---|---|---|---|")
    shipped = position.SCORE_SCALE
    for scale in (shipped / 2, shipped, 2 * shipped):
        position.SCORE_SCALE = scale
        matrices = np.stack([position.covariance(a) for a in fixes])
        distance = np.einsum("ni,nij,nj->n", errors, np.linalg.inv(matrices), errors)
        inside = distance < ELLIPSE
        wide = np.sqrt(np.trace(matrices, axis1=1, axis2=2) / 2)
        mark = " (shipped)" if scale == shipped else ""
        print(
            f"| {scale:g}{mark} | {inside.mean():.1%} | {_mean(inside[~right]):.1%} "
            f"| {_median(wide[right]):.0f} m | {_median(wide[~right]):.0f} m |"
        )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if values.size else float("nan")


if __name__ == "__main__":
    main()
