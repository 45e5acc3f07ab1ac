"""Page of the demo: the closing table, both trainings, examples, and every measurement."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import edgevpr
from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.records import BundleRecord, GalleryRecord, ProfileRecord, ProfileRow
from edgevpr.data import read_images, read_split
from edgevpr.demo.score_drive import is_right, read_answers, read_truth
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import read_image
from edgevpr.profiles.report.figures import curves_figure
from edgevpr.profiles.report.page import Section, Strip, Table
from edgevpr.profiles.report.pictures import Picture, picture
from edgevpr.profiles.report.render_report import render_report, standard_sections

LEAD = (
    "A heavy network described the map of a synthetic city once; a light one, trained into the "
    "same descriptor space, answered queries of places neither had seen in training, at other "
    "hours, seasons and viewpoints, through a compressed index. Every number was measured in this "
    "run."
)


def demo_report(
    out: Path, records: Sequence[ProfileRecord], rows: Sequence[ProfileRow], summary: dict[str, Any]
) -> str:
    """The page as HTML, from the demo's files below ``out``."""
    sections = [
        _problem(out, summary),
        _answers(out, summary),
        _exits(summary),
        *standard_sections(records),
        _training(out),
        _index(out),
        _targets(out),
        Section(
            "Every command, and its seconds",
            tables=[
                Table(
                    ["command", "seconds"],
                    [[_short(line, out), f"{s:.1f}"] for line, s in summary["steps"].items()],
                    headed=False,
                )
            ],
        ),
    ]
    return render_report(
        "edgevpr demo: place recognition in a synthetic city",
        rows,
        sections,
        lead=LEAD,
        device=records[0].device.name,
        time=records[0].device.time,
    )


def _short(line: str, out: Path) -> str:
    return line.replace(f"{out}/", "").replace(str(Path(edgevpr.__file__).parent), "edgevpr")


def _problem(out: Path, summary: dict[str, Any]) -> Section:
    test = out / "city" / "images" / "test"
    database, queries = read_split(test)
    pictures: list[Picture] = []
    places = np.unique(queries.place)
    for place in places[:: max(1, len(places) // 6)][:6]:
        for table, name in ((database, "gallery"), (queries, "query")):
            views = _views(table, int(place), 2)
            pictures += [picture(read_image(test / view), name) for view in views]
    return Section(
        "The problem",
        text=[
            f"{len(queries)} queries of {len(np.unique(queries.place))} places against "
            f"{len(database)} gallery images; none of the places is in the training set. A nearest "
            f"neighbour over 32x32 grey thumbnails scores R@1 {summary['thumbnail_r1']:.1f}, R@5 "
            f"{summary['thumbnail_r5']:.1f}."
        ],
        strips=[Strip(pictures, "Two gallery views and two queries of each place.")],
    )  # fmt: skip


def _views(table: ImageTable, place: int, count: int) -> list[str]:
    rows = np.flatnonzero(table.place == place)[:count]
    return [table.paths[int(row)] for row in rows]


def _answers(out: Path, summary: dict[str, Any]) -> Section:
    """Frames of the drive beside the gallery image that answered them."""
    drive = summary["drive"]
    import cv2

    database = out / "city" / "images" / "test" / "database"
    answers = read_answers(out / "drive.jsonl")
    truth = read_truth(out / "city" / "drive" / "drive.csv", read_images(database))
    shown = [frame for frame in sorted(answers) if truth[frame].seen and "top" in answers[frame]]
    wanted = set(shown[:: max(1, len(shown) // 8)][:8])
    capture = cv2.VideoCapture(str(out / "city" / "drive" / "drive.mp4"))
    pictures = []
    frame = 0
    while wanted and frame <= max(wanted):
        decoded, image = capture.read()
        if not decoded:
            break
        if frame in wanted:
            answer = answers[frame]
            right = is_right(answer, truth[frame])
            seen = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
            pictures.append(picture(seen, f"frame {frame}", verdict="query"))
            caption = f"place {answer['place']}, score {answer['score']:.2f}"
            pictures.append(
                picture(
                    read_image(database / answer["top"][0]["image"]),
                    caption,
                    verdict="hit" if right else "miss",
                )
            )
        frame += 1
    capture.release()
    return Section(
        "A drive, answered frame by frame",
        text=[
            f"The INT8 engine on a video of the test streets at dusk, each frame by itself: "
            f"{drive['seen']:.0f} % of the {drive['seen_frames']} frames whose view the map holds "
            "(a gallery image within 6 m that looks within 30 degrees of the same way) were "
            f"answered within 25 m, and {drive['near']:.0f} % of the {drive['near_frames']} frames "
            "within 25 m of a mapped place whatever way they look. The map has one viewing "
            "direction a place, the drive looks straight ahead and turns corners."
        ],
        strips=[Strip(pictures, "Such frames, each beside the gallery image that answered it.")],
    )


def _exits(summary: dict[str, Any]) -> Section:
    run = summary["deadline"]
    rows = [
        [
            each["exit"], each["cost"].removesuffix(" %"), f"{each['engine_ms_p50']:.2f}",
            f"{each['end_to_end_ms_p50']:.2f}", _number(each["r1"]), _number(each["r5"]),
            _number(each["known"]),
        ]
        for each in summary["exits"]
    ]  # fmt: skip
    columns = ["left after", "cost, %", "engine ms", "end to end ms", "R@1", "R@5", "known, %"]
    by_exit = ", ".join(f"{frames} at {exit}" for exit, frames in run["exits"].items())
    return Section(
        "The query network left early",
        text=[
            "The map was described once: every exit answers in the descriptor space of the whole "
            "network, against the same index. Cost is multiply-adds, of the full path's; known, "
            "queries of mapped places that the exit's own confidence model calls known. The next "
            "section says whether networks without exits do better.",
            f"The drive again, FP32, each frame by the deepest exit in time for "
            f"{run['deadline_ms']:g} ms (half way between the 95th percentiles of the first exit "
            f"and the full path): {by_exit}; {run['late']} late; {run['seen']:.0f} % of the frames "
            "whose view the map holds answered within 25 m.",
        ],
        tables=[Table(columns, rows)],
    )


def _training(out: Path) -> Section:
    figures, rows = [], []
    curves: dict[str, tuple[list[float], list[float]]] = {}
    scores: dict[str, tuple[list[float], list[float]]] = {}
    for name in ("gallery-network", "query-network"):
        opened = open_artifact(out / name, "model")
        with opened.file("metrics.csv").open() as stream:
            steps = list(csv.DictReader(stream))
        curves[name] = ([float(s["step"]) for s in steps], [float(s["loss"]) for s in steps])
        scored = [s for s in steps if s["validation_r1"]]
        scores[name] = (
            [float(s["step"]) for s in scored],
            [float(s["validation_r1"]) for s in scored],
        )
        record = json.loads((out / name / "model.json").read_text())
        training = record["training"]
        rows.append([
            name, record["architecture"]["backbone"], f"{training['parameters_m']:.2f}",
            str(record["dim"]), str(training["steps"]), training["precision"],
        ])  # fmt: skip
    figures.append(curves_figure("loss", curves, x="step", y="loss", caption="Training loss."))
    figures.append(
        curves_figure(
            "validation", scores, x="step", y="R@1 %",
            caption="R@1 on the validation places; the query network's against gallery features.",
        )
    )  # fmt: skip
    columns = ["network", "backbone", "parameters, M", "D", "steps", "precision"]
    return Section("Training", figures=figures, tables=[Table(columns, rows)])


def _index(out: Path) -> Section:
    record = open_artifact(out / "gallery", "gallery").read("gallery.json", GalleryRecord)
    rows = [
        [
            p.parameters, f"{p.exact_agreement:.1f}", _number(p.r1), _number(p.r5),
            f"{p.search_ms_p50:.3f}", "chosen" if p == record.chosen else "",
        ]
        for p in record.points
    ]  # fmt: skip
    columns = ["setting", "agrees with exact, %", "R@1", "R@5", "search ms p50", ""]
    return Section(
        "The index",
        text=[
            f"{record.factory}: {record.count} images, {record.dim} numbers projected to "
            f"{record.index_dim}, {record.bytes_per_image:.0f} bytes an image. Operating points "
            "were measured on a held-out pass through the map, which is no part of the test."
        ],
        tables=[Table(columns, rows, "The settings no other one beats.")],
    )


def _targets(out: Path) -> Section:
    rows = []
    for folder in sorted((out / "bundles").iterdir()):
        record = open_artifact(folder, "bundle").read("bundle.json", BundleRecord)
        engine = ", ".join(record.engines) or (
            "built on the board" if record.runtime == "tensorrt" else "none: runs the graph"
        )
        graphs = {file for exit in record.exits for file in exit.graphs} or {"model.onnx"}
        size = sum((folder / file).stat().st_size for file in graphs)
        rows.append([
            folder.name, record.target, record.precision, str(record.output_dim),
            f"{size / 1e6:.1f}", engine,
        ])  # fmt: skip
    columns = ["bundle", "target", "precision", "numbers out", "graph MB", "engine"]
    return Section("Compiled for", tables=[Table(columns, rows)])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
