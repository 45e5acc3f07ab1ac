"""Command lines of every verb that writes, and checks of whether an output is whole.

``benchmarks/kills.py`` kills them.
"""

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgevpr.artifacts.folder import open_artifact
from edgevpr.runtime.gallery.gallery import Gallery

#: Frames of the drive.
FRAMES = 12


def artifact(kind: str) -> Callable[[Path], None]:
    """A check that an artifact of this kind opens, all hashes compared."""
    return lambda path: void(open_artifact(path, kind))


def void(_: object) -> None:
    """Nothing; for checks that only may raise."""


def gallery(path: Path) -> None:
    """Raise unless a gallery opens and answers."""
    opened = Gallery(path)
    width = opened.record.index_dim
    opened.search(np.full((1, width), width**-0.5, np.float32), 3)


def lines(path: Path) -> None:
    """Raise unless there is a JSON line for every frame."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(found) == FRAMES, f"{len(found)} lines"


def table(path: Path) -> None:
    """Raise unless a CSV file has a head, rows, and a last line that ends."""
    text = path.read_text()
    assert text.endswith("\n"), "no end of line"
    rows = list(csv.reader(text.splitlines()))
    assert len(rows) > 1, "no rows"
    assert len({len(row) for row in rows}) == 1, "rows of several widths"


def bag(path: Path) -> None:
    """Raise unless an MCAP file has its footer and summary."""
    from mcap.reader import make_reader

    with path.open("rb") as stream:
        summary = make_reader(stream).get_summary()
        assert summary is not None, "no summary"
        assert summary.statistics is not None, "no statistics"


def video(path: Path) -> None:
    """Raise unless a video has all frames."""
    import cv2

    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    assert count == FRAMES, f"{count} frames"


def picture(path: Path) -> None:
    """Raise unless a picture decodes."""
    import cv2

    assert cv2.imread(str(path)) is not None, "no picture"


def page(path: Path) -> None:
    """Raise unless an HTML page has its end."""
    assert path.read_text().rstrip().endswith("</html>"), "no end"


def array(path: Path) -> None:
    """Raise unless an npy file reads."""
    void(np.load(path, allow_pickle=False))


def text(path: Path) -> None:
    """Raise unless a file has something in it."""
    assert path.read_bytes().strip(), "empty"


def folder(*endings: str) -> Callable[[Path], None]:
    """A check that a folder has files of all these endings, and that its pictures decode."""

    def check(path: Path) -> None:
        files = [p for p in path.rglob("*") if p.is_file()]
        for ending in endings:
            assert any(p.name.endswith(ending) for p in files), f"no {ending}"
        for each in files:
            if each.suffix in (".jpg", ".png"):
                picture(each)
            assert not each.name.startswith("."), f"{each.name}"

    return check


@dataclass(frozen=True)
class Verb:
    """One command line: its words, {w} for the world and {o} for the folder of its outputs."""

    words: str
    #: names below {w} that it reads.
    inputs: str
    #: outputs by name below {o}, each with its check.
    outputs: Mapping[str, Callable[[Path], None]]
    #: what of the world, or which text, stands at an output before; empty: the first run.
    earlier: Mapping[str, str] = field(default_factory=dict)
    #: an output that is changed in place: it is always there, and a second change may be refused.
    in_place: bool = False
    #: it refuses to write where something is.
    once: bool = False


TRAINING = (
    "--backbone resnet10t --out-index 1 --aggregator gem --image-size 64 --batch-size 8 "
    "--images-per-place 2 --workers 0 --precision fp32"
)
CITY = (
    "city --train-cities 1 --train-places 6 --val-places 3 --test-places 6 "
    f"--drive-frames {FRAMES} --workers 2"
)
#: Command lines that make the world, in order.
WORLD = (
    f"{CITY} -o {{w}}/city --seed 1",
    f"train {{w}}/city/gsv-cities -o {{w}}/model --epochs 1 {TRAINING}",
    "embed {w}/model {w}/city/images/test/database -o {w}/map --workers 0",
    "embed {w}/model {w}/city/images/val/database -o {w}/more --workers 0",
    "embed {w}/model {w}/city/gsv-cities -o {w}/training --workers 0",
    "index {w}/map -o {w}/gallery",
    "compile {w}/model --target cpu --precision fp32 --gallery {w}/gallery "
    "--calibration {w}/city/gsv-cities -o {w}/bundle",
    "profile {w}/city/images/test/queries --bundle {w}/bundle --gallery {w}/gallery "
    "-o {w}/profile --count 10",
    "bundle key -o {w}/maker.pem",
)
SINKS = "--sink csv:{o}/a.csv --sink mcap:{o}/a.mcap --sink video:{o}/a.mp4"
OLD = "an earlier file\n"
VERBS = {
    "city": Verb(
        f"{CITY} -o {{o}}/city --seed 2", "", {"city": folder(".csv", ".jpg", ".json")},
        {"city": "city"},
    ),
    "train": Verb(
        f"train {{w}}/city/gsv-cities -o {{o}}/model --epochs 3 --seed 5 {TRAINING}", "city",
        {"model": artifact("model")}, {"model": "model"},
    ),
    "embed": Verb(
        "embed {w}/model {w}/city/images/test/database -o {o}/map --workers 1 --batch-size 2",
        "model city", {"map": artifact("features")}, {"map": "more"},
    ),
    "eval": Verb(
        "eval {w}/model {w}/city/images/test --save {o}/save --per-query {o}/a.csv "
        "--sheet {o}/a.jpg", "model city",
        {"a.csv": table, "a.jpg": picture, "save": folder(".npy")}, {"a.csv": OLD},
    ),
    "explain": Verb(
        "explain {w}/city/gsv-cities -m {w}/model --features {w}/training -o {o}/e",
        "model city training", {"e": folder(".jpg")},
    ),
    "compile": Verb(
        "compile {w}/model --target cpu --precision int8 --gallery {w}/gallery --calibration "
        "{w}/city/gsv-cities -o {o}/bundle", "model gallery city",
        {"bundle": artifact("bundle")}, {"bundle": "bundle"},
    ),
    "models": Verb(
        "models --published boq-dinov2 --checkpoint {w}/net.pth -o {o}/model", "net.pth",
        {"model": artifact("model")}, {"model": "model"},
    ),
    "index": Verb(
        "index {w}/map -o {o}/gallery --kind opq-ivfpq --kind sq8 --kind rabitq", "map",
        {"gallery": gallery}, {"gallery": "gallery"},
    ),
    "index joined": Verb(
        "index {w}/map {w}/more -o {o}/gallery", "map more", {"gallery": gallery},
        {"gallery": "gallery"},
    ),
    "gallery add": Verb(
        "gallery add {o}/gallery {w}/more --replace", "more", {"gallery": gallery},
        {"gallery": "gallery"}, in_place=True,
    ),
    "gallery remove": Verb(
        "gallery remove {o}/gallery --place 1", "", {"gallery": gallery},
        {"gallery": "gallery"}, in_place=True,
    ),
    "gallery compact": Verb(
        "gallery compact {o}/gallery", "", {"gallery": gallery}, {"gallery": "changed"},
        in_place=True,
    ),
    "gallery sign": Verb(
        "gallery sign {o}/gallery --key {w}/maker.pem", "maker.pem", {"gallery": gallery},
        {"gallery": "gallery"}, in_place=True,
    ),
    "bundle sign": Verb(
        "bundle sign {o}/bundle --key {w}/maker.pem", "maker.pem",
        {"bundle": artifact("bundle")}, {"bundle": "bundle"}, in_place=True,
    ),
    "bundle key": Verb("bundle key -o {o}/k.pem", "", {"k.pem": text}, once=True),
    "data convert": Verb(
        "data convert {w}/photos -o {o}/photos --positions {w}/photos.csv", "photos photos.csv",
        {"photos": folder(".jpg")}, once=True,
    ),
    "run": Verb(
        f"run {{w}}/city/drive/drive.mp4 --bundle {{w}}/bundle --gallery {{w}}/gallery {SINKS} "
        "-o {o}/a.jsonl", "city bundle gallery",
        {"a.jsonl": lines, "a.csv": table, "a.mcap": bag, "a.mp4": video},
        {"a.jsonl": OLD, "a.csv": OLD, "a.mcap": OLD, "a.mp4": OLD},
    ),
    "profile": Verb(
        "profile {w}/city/images/test/queries --bundle {w}/bundle --gallery {w}/gallery "
        "-o {o}/profile --count 20", "city bundle gallery", {"profile": artifact("profile")},
        {"profile": "profile"},
    ),
    "report": Verb(
        "report {w}/profile -o {o}/r.html", "profile", {"r.html": page}, {"r.html": OLD}
    ),
}  # fmt: skip
