"""Early exits measured: costs, adapters, codebooks, heads and sizes; seeds apart, spread shown.

    python benchmarks/anytime.py --demo DEMO -o OUT [--seeds 0 1 2] [--tables exits adapters]
    python benchmarks/anytime.py MODEL IMAGES --validation VAL --test TEST -o OUT
        [--validation-features F --test-features G]

DEMO is a folder that ``edgevpr demo`` wrote: its query network, training images, validation and
test sets are used. Otherwise they are named: VAL and TEST hold database/ and queries/, and of a
query network the gallery network's features of both database folders are needed.

Codebooks and exits are trained on IMAGES (``--count`` of them, spread over all), without labels and
without augmentation. Of two methods, the one with the higher R@1 on VAL is kept ("auto"); all
figures shown are of TEST, which nothing was chosen on. Every cell, one training with one seed, is
kept in OUT/cells as it is finished, and is not run again: interrupt it, and start it anew. The
tables of what is there are printed at the end, and written to OUT/anytime.json.

Milliseconds are torch's on this machine, one image at a time on ``--threads`` threads, median.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgevpr.artifacts.features import Features
from edgevpr.artifacts.folder import open_artifact
from edgevpr.cli import console
from edgevpr.data import read_split
from edgevpr.data.image_files import list_images
from edgevpr.errors import UsageError
from edgevpr.files import write_atomic
from edgevpr.places.table import ImageTable
from edgevpr.train.anytime.codebook import default_shape
from edgevpr.train.anytime.codebook_config import CodebookConfig
from edgevpr.train.anytime.exit_cost import exit_costs
from edgevpr.train.anytime.exit_options import ExitOptions
from edgevpr.train.anytime.fit_codebook import FrozenTokens, fit_codebook
from edgevpr.train.anytime.store import load_anytime, load_codebook
from edgevpr.train.config import TrainConfig
from edgevpr.train.embed.embed import describe_images
from edgevpr.train.evaluate.evaluate import recall_of
from edgevpr.train.fit import fit
from edgevpr.train.images import Images
from edgevpr.train.networks.architecture import Architecture
from edgevpr.train.networks.model import load_model

TABLES = ("exits", "adapters", "codebooks", "shapes")


@dataclass(frozen=True)
class Book:
    """One codebook to learn."""

    init: str
    heads: int
    size: int

    def name(self, seed: int) -> str:
        return f"{self.init}-{self.heads}x{self.size}-{seed}"


@dataclass(frozen=True)
class Cell:
    """One training of exits."""

    adapter: str
    #: None: regression.
    book: Book | None

    def name(self, seed: int) -> str:
        return f"{self.adapter}-{self.book.name(seed) if self.book else f'regression-{seed}'}"


class Part:
    """A data set held in memory: pixels of its queries, descriptors of its database."""

    def __init__(self, root: Path, features: Path | None, model: Path) -> None:
        network, about, _ = load_model(model)
        self.database, self.queries = read_split(root)
        paths = Images(root, self.queries.paths, about.preprocess)
        rows = range(len(self.queries))
        self.pixels = [paths[[(0, r) for r in rows[i : i + 64]]][0] for i in rows[::64]]
        self.gallery: Any
        self.table: ImageTable = self.database
        if features is not None:
            stored = Features(features)
            self.table, self.gallery = stored.table, stored.descriptors
        else:
            self.gallery = describe_images(network, about.preprocess, root, self.database)

    def recall(self, descriptors: Tensor) -> dict[str, float]:
        found = recall_of(self.queries, descriptors.numpy(), self.table, self.gallery)
        return {"r1": found.at[1], "r5": found.at[5]}


class Bench:
    """What is trained on and measured with, and where results are kept."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.out, self.model = given, given.output, given.model
        self.images = self._images()
        self.parts = {
            "validation": Part(given.validation, given.validation_features, self.model),
            "test": Part(given.test, given.test_features, self.model),
        }

    def _images(self) -> Path:
        """Links to ``--count`` of the images, spread over all."""
        folder = self.out / f"images-{self.given.count}"
        if not folder.is_dir():
            paths = list_images(self.given.images)
            at = np.linspace(0, len(paths) - 1, min(self.given.count, len(paths))).round()
            folder.mkdir(parents=True)
            for number in np.unique(at.astype(int)):
                file = (self.given.images / paths[number]).resolve()
                (folder / f"{number:07d}{file.suffix}").symlink_to(file)
        return folder

    def book(self, book: Book, seed: int) -> Path:
        """Learn a codebook, and measure the ceiling: R@K of agg(F^) of the whole network."""
        out = self.out / "books" / book.name(seed)
        cell = self.out / "cells" / f"book-{book.name(seed)}.json"
        if cell.is_file():
            return out
        config = CodebookConfig(
            self.model, self.images, heads=book.heads, size=book.size, init=book.init,
            epochs=self.given.book_epochs, batch_size=self.given.batch_size, seed=seed,
            precision="fp32", workers=1,
        )  # fmt: skip
        started = time.perf_counter()
        record = fit_codebook(config, out)
        seconds = time.perf_counter() - started
        network, about, _ = load_model(self.model)
        frozen = FrozenTokens(network, (about.preprocess.height, about.preprocess.width))
        codebook, _, _ = load_codebook(out)
        with torch.inference_mode():
            found = {
                name: torch.cat([frozen.tail(codebook(frozen(x)[0])) for x in part.pixels])
                for name, part in self.parts.items()
            }
        ceiling = {name: self.parts[name].recall(each) for name, each in found.items()}
        keep(cell, {"record": record, "ceiling": ceiling, "seconds": seconds} | asdict(book))
        return out

    def cell(self, cell: Cell, seed: int) -> None:
        """Train exits, and measure each of them."""
        file = self.out / "cells" / f"{cell.name(seed)}.json"
        if file.is_file():
            return
        book = self.book(cell.book, seed) if cell.book else None
        config = TrainConfig(
            self.images, Architecture(),
            ExitOptions(
                self.model, book, self.given.exits, cell.adapter,
                method="composition" if book else "regression",
            ),
            epochs=self.given.epochs, batch_size=self.given.batch_size, crop=1.0, light=0.0,
            precision="fp32", workers=1, seed=seed,
        )  # fmt: skip
        started = time.perf_counter()
        out = self.out / "model"
        record = fit(config, out)
        seconds = time.perf_counter() - started
        anytime, _, _ = load_anytime(out)
        names = (*anytime.exits, "full")
        costs = exit_costs(anytime)
        figures: dict[str, Any] = {
            name: {"share": costs[name].share, "ms": milliseconds(anytime, name)} for name in names
        }
        for of, part in self.parts.items():
            with torch.inference_mode():
                every = [anytime.forward_exits(x, names) for x in part.pixels]
            whole = torch.cat([each["full"] for each in every])
            for name in names:
                found = torch.cat([each[name] for each in every])
                cosine = float((found * whole).sum(1).mean())
                figures[name][of] = part.recall(found) | {"cosine": cosine}
        keep(file, {"record": record, "exits": figures, "seconds": seconds, "seed": seed})


def check_settings(given: argparse.Namespace) -> None:
    """End where the cells in OUT are of other settings: a table must not mix them.

    Raises:
        UsageError: they are.
    """
    names = ("exits", "count", "epochs", "book_epochs", "batch_size")
    mine = {name: getattr(given, name) for name in names}
    mine["model"] = open_artifact(given.model, "model").digest
    file = given.output / "settings.json"
    if not file.is_file():
        write_atomic(file, json.dumps(mine, indent=1).encode())
    elif (there := json.loads(file.read_text())) != mine:
        raise UsageError(
            f"found cells of other settings in {given.output} ({there}), expected {mine}: choose "
            "another folder"
        )


def milliseconds(anytime: Any, name: str, repeats: int = 40) -> float:
    """Median of one image through an exit, after a warm-up."""
    image, taken = torch.zeros(1, 3, *anytime.image_size), []
    with torch.inference_mode():
        for number in range(repeats + 10):
            started = time.perf_counter()
            anytime(image, name)
            if number >= 10:
                taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


def keep(file: Path, found: dict[str, Any]) -> None:
    write_atomic(file, json.dumps(found, indent=1).encode())
    print(f"{file.stem}: {found['seconds']:.0f} s", file=sys.stderr, flush=True)


class Results:
    """Cells that are there, of the seeds that were asked for."""

    def __init__(self, out: Path, seeds: list[int]) -> None:
        self.cells, self.seeds = out / "cells", seeds

    def of(self, cell: Cell) -> dict[int, dict[str, Any]]:
        return self._read((seed, cell.name(seed)) for seed in self.seeds)

    def book(self, book: Book) -> dict[int, dict[str, Any]]:
        return self._read((seed, f"book-{book.name(seed)}") for seed in self.seeds)

    def _read(self, names: Iterable[tuple[int, str]]) -> dict[int, dict[str, Any]]:
        files = {seed: self.cells / f"{name}.json" for seed, name in names}
        return {seed: json.loads(f.read_text()) for seed, f in files.items() if f.is_file()}


def spread(values: Iterable[float]) -> str:
    """Mean, and least to greatest where there are several."""
    found = list(values)
    if not found:
        return "-"
    mean = statistics.mean(found)
    return f"{mean:.1f}" + (f" ({min(found):.1f}..{max(found):.1f})" if len(found) > 1 else "")


def r1_of(cells: dict[int, dict[str, Any]], exit: str) -> str:
    return spread(each["exits"][exit]["test"]["r1"] for each in cells.values())


Row = list[Any]


def exits_table(results: Results, composed: Cell, exits: list[str]) -> Iterator[Row]:
    """Cost, ms, R@1 and R@5 of the better method by validation; how often composition was it."""
    first, second = results.of(composed), results.of(Cell(composed.adapter, None))
    seeds = sorted(first.keys() & second.keys())
    for name in [*exits, "full"] if seeds else []:
        best = [
            max(
                (first[seed]["exits"][name], second[seed]["exits"][name]),
                key=lambda each: (each["validation"]["r1"], each["validation"]["cosine"]),
            )
            for seed in seeds
        ]
        composes = sum(b is first[s]["exits"][name] for s, b in zip(seeds, best, strict=True))
        yield [
            name,
            f"{best[0]['share']:.0%}",
            f"{statistics.mean(each['ms'] for each in best):.1f}",
            spread(each["test"]["r1"] for each in best),
            spread(each["test"]["r5"] for each in best),
            "" if name == "full" else f"{composes} of {len(seeds)}",
        ]


def adapters_table(results: Results, book: Book, exits: list[str]) -> Iterator[Row]:
    for adapter in ("mlp", "attention"):
        for label, cell in (
            (f"{adapter}, regression", Cell(adapter, None)),
            (f"{adapter}, composition", Cell(adapter, book)),
        ):
            cells = results.of(cell)
            if cells:
                costs = next(iter(cells.values()))["exits"]
                shares = "/".join(f"{100 * costs[name]['share']:.0f}" for name in exits)
                yield [label, shares, *(r1_of(cells, name) for name in exits)]


def books_table(results: Results, books: dict[str, Book], exits: list[str]) -> Iterator[Row]:
    for label, book in books.items():
        learned, cells = results.book(book), results.of(Cell("mlp", book))
        if learned:
            ceiling = spread(each["ceiling"]["test"]["r1"] for each in learned.values())
            cosine = statistics.mean(each["record"]["cosine"] for each in learned.values())
            yield [label, ceiling, f"{cosine:.3f}", *(r1_of(cells, name) for name in exits)]


def main(given: argparse.Namespace) -> None:
    torch.set_num_threads(given.threads)
    check_settings(given)
    network, about, _ = load_model(given.model)
    size = (about.preprocess.height, about.preprocess.width)
    heads, count = default_shape(FrozenTokens(network, size).shape.width)
    learned = Book("learned", heads, count)
    books = {
        "learned": learned,
        "monolithic": Book("learned", 1, count),
        "k-means": Book("kmeans", heads, count),
        "random": Book("random", heads, count),
    }
    shapes = {f"H {h}, M {m}": Book("learned", h, m) for h in given.heads for m in given.sizes}
    wanted: list[Cell] = [Cell("mlp", learned), Cell("mlp", None)]
    if "adapters" in given.tables:
        wanted += [Cell("attention", learned), Cell("attention", None)]
    if "codebooks" in given.tables:
        wanted += [Cell("mlp", book) for book in books.values()]
    if "shapes" in given.tables:
        wanted += [Cell("mlp", book) for book in shapes.values()]
    if not given.print:
        bench = Bench(given)
        for seed in given.seeds:
            for cell in dict.fromkeys(wanted):
                bench.cell(cell, seed)
    exits = given.exits.split(",")
    results = Results(given.output, given.seeds)
    at = [f"R@1 {name}" for name in exits]
    tables = {
        "exits": (
            ["exit", "cost", "ms", "R@1", "R@5", "composition kept"],
            list(exits_table(results, wanted[0], exits)),
        ),
        "adapters": (["adapter", "cost %", *at], list(adapters_table(results, learned, exits))),
        "codebooks": (["codebook", "ceiling R@1", "cosine", *at],
                      list(books_table(results, books, exits))),
        "shapes": (["shape", "ceiling R@1", "cosine", *at],
                   list(books_table(results, shapes, exits))),
    }  # fmt: skip
    for name in given.tables:
        columns, rows = tables[name]
        if rows:
            console.table(name, columns, rows)
            print()
    written = {name: {"columns": c, "rows": r} for name, (c, r) in tables.items()}
    about_run = {"seeds": given.seeds, "threads": given.threads, "count": given.count}
    write_atomic(given.output / "anytime.json", json.dumps(written | about_run, indent=1).encode())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("--demo", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--validation", type=Path)
    parser.add_argument("--validation-features", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--test-features", type=Path)
    parser.add_argument("--exits", default="1.1,2.1")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--heads", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--count", type=int, default=1600)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--book-epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--print", action="store_true", help="tables of what is there, only")
    given = parser.parse_args()
    if given.demo:
        demo = given.demo
        given.model, given.images = demo / "query-network", demo / "city" / "gsv-cities"
        given.validation, given.test = (demo / "city" / "images" / n for n in ("val", "test"))
        given.validation_features = demo / "features" / "validation"
        given.test_features = demo / "features" / "map"
    elif not (given.model and given.images and given.validation and given.test):
        parser.error("name --demo, or MODEL IMAGES --validation --test")
    return given


if __name__ == "__main__":
    main(arguments())
