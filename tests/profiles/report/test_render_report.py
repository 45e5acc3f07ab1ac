"""The report page: one file, no network, every number of the record, descriptions of pictures."""

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgevpr.artifacts.folder import write_artifact
from edgevpr.artifacts.manifest import write_json
from edgevpr.artifacts.records import ProfileRecord, ProfileRow
from edgevpr.cli.main import run
from edgevpr.profiles.report.drawing import spread
from edgevpr.profiles.report.figures import (
    curves_figure,
    exit_lines,
    pareto_front,
    recall_figure,
    stage_figure,
)
from edgevpr.profiles.report.page import Section, Strip, Table
from edgevpr.profiles.report.pictures import picture
from edgevpr.profiles.report.render_report import (
    closing_table,
    exits_beaten,
    how_measured,
    render_report,
    report_from_records,
    standard_sections,
    told_apart,
)

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks nesting and collects ids, references, image descriptions and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.addresses: list[str] = []
        self.undescribed = 0
        self.tags: dict[str, int] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags[tag] = self.tags.get(tag, 0) + 1
        if "id" in found:
            self.ids.append(found["id"])
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            if name in found:
                value = found[name]
                (self.references if value.startswith("#") else self.addresses).append(value)
        for value in found.values():
            self.references += re.findall(r"url\((#[^)]+)\)", value)
        if tag == "img" and not found.get("alt"):
            self.undescribed += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def html(record: ProfileRecord) -> str:
    """A page with everything on it."""
    image = np.random.default_rng(0).integers(0, 255, (90, 120, 3)).astype(np.uint8)
    sections = [
        *standard_sections([record]),
        Section(
            "Training <b>",
            text=["A & B"],
            figures=[
                curves_figure("loss", {"train": ([1, 2], [3.0, 1.0])}, x="epoch", y="loss",
                              caption="Loss."),
            ],
            strips=[
                Strip([picture(image, "query", verdict="query"),
                       picture(image, "12.0 m", verdict="hit"),
                       picture(image, "80.0 m", verdict="miss")], "Answers."),
            ],
        ),
    ]  # fmt: skip
    return render_report(
        "A title", record.rows, sections, lead="Lead.", device=record.device.name,
        time=record.device.time,
    )  # fmt: skip


def test_page_is_well_formed(html: str) -> None:
    """Elements are closed, ids unique, and references have their targets."""
    page = Page(html)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert {r.removeprefix("#") for r in page.references} <= set(page.ids)
    assert page.tags["svg"] == 3
    assert page.tags["h1"] == 1


def test_page_needs_no_network(html: str) -> None:
    """Fonts, scripts, namespaces and pictures are inside the file."""
    page = Page(html)
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert "http:" not in html
    assert "https:" not in html
    assert "<script" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_figures_take_their_colours_from_the_page(html: str) -> None:
    """Every colour of a figure is a CSS variable, for light and dark pages."""
    for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        assert not re.search(r"#[0-9a-fA-F]{6}", svg)
        assert "var(--ink)" in svg
        assert "DejaVu" not in svg


def test_page_can_be_read_without_seeing_it(html: str) -> None:
    """Pictures and figures have descriptions."""
    page = Page(html)
    assert page.undescribed == 0
    assert html.count('role="img"') == page.tags["svg"]
    assert ">right</b>" in html  # not by colour alone
    assert ">wrong</b>" in html


def test_text_is_escaped(html: str) -> None:
    assert "Training &lt;b&gt;" in html
    assert "A &amp; B" in html


def test_numbers_of_the_record_are_there(html: str, record: ProfileRecord) -> None:
    """Rows, the note on queries and the evidence are on the page."""
    for line in closing_table(record.rows).rows:
        for cell in line:
            assert f">{cell}</" in html
    assert "400 queries against 1200 gallery images" in html
    assert "3 queries have no positive" in html
    assert "parity, min cosine" in html
    assert "0.9987" in html
    assert "measured" in html
    assert record.device.cpu in html


def test_a_profile_without_labels_has_no_recall(
    record: ProfileRecord, row: Callable[..., ProfileRow]
) -> None:
    bare = msgspec.structs.replace(record, rows=[row("only", r1=None)], queries=0, evidence={})
    html = report_from_records([bare])
    Page(html)
    assert recall_figure(bare.rows) is None
    assert "Recall:" not in html


def test_figures_are_deterministic(record: ProfileRecord) -> None:
    """No dates and no random ids."""
    first, second = (stage_figure(record.rows), stage_figure(record.rows))
    assert first == second


def test_wide_range_of_latencies(row: Callable[..., ProfileRow]) -> None:
    """One row, equal times, and times a factor of a thousand apart are drawn."""
    wide = [row("a", engine_ms=0.5), row("b", engine_ms=500)]
    for rows in ([row("a")], [row("a"), row("b")], wide):
        assert recall_figure(rows) is not None
        assert stage_figure(rows) is not None


def test_labels_do_not_overlap() -> None:
    placed = sorted(spread([90.0, 90.1, 90.05, 95.0], gap=1.0))
    assert all(b - a >= 0.99 for a, b in itertools.pairwise(placed))


def test_numbers_are_set_to_the_right() -> None:
    """Also numbers with a thousands mark, and dashes."""
    table = Table(["a", "b"], [["1,024", "x"], ["-", "y"], ["-3.5", "z"]])
    assert table.numeric(0)
    assert not table.numeric(1)


def test_opens_in_a_browser_without_network(html: str, tmp_path: Path) -> None:
    """A browser asks for no other address and draws the figures."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    page, log = tmp_path / "report.html", tmp_path / "net.json"
    page.write_text(html)
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'user'}",
         f"--log-net-log={log}", "--window-size=1000,1400", f"--screenshot={tmp_path / 'page.png'}",
         page.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if not (tmp_path / "page.png").exists():
        pytest.skip(f"Chromium does not start here: {done.stderr[-300:]}")
    assert "Refused to load" not in done.stderr
    asked = set(re.findall(r'"url":"https?://([^/"]+)', log.read_text()))
    own = ("google.com", "googleapis.com", "gvt1.com", "gstatic.com")  # the browser, for itself
    assert not {host for host in asked if not host.endswith(own)}
    import cv2

    shot = cv2.imread(str(tmp_path / "page.png"))
    assert shot is not None
    assert shot.std() > 5  # not an empty page


def test_a_map_without_coordinates(record: ProfileRecord) -> None:
    """Its positives are told by place, and an older profile's by metres."""
    assert "positives within 25 m; 3 queries" in how_measured(record)
    by_place = msgspec.structs.replace(record, rule="of the same place")
    assert "positives of the same place; 3 queries" in how_measured(by_place)
    assert " m" not in how_measured(by_place).partition("Recall:")[2]


def test_profiles_of_one_name_are_told_apart(
    record: ProfileRecord, row: Callable[..., ProfileRow]
) -> None:
    """In the table, the figures and the evidence of all of them; names of one profile stay."""
    other = msgspec.structs.replace(
        record,
        rows=[row("query-ivfpq", r1=70.0), row("alone")],
        evidence={"query-ivfpq": {"parity": {"min_cosine": 0.5}}},
    )
    apart = told_apart([record, other, other], ["orin", "xavier", "xavier"])
    names = [each.configuration for one in apart for each in one.rows]
    assert names == [
        "query-exact", "query-ivfpq (orin)", "query-ivfpq (xavier)", "alone (xavier)",
        "query-ivfpq (xavier) 2", "alone (xavier) 2",
    ]  # fmt: skip
    assert [list(one.evidence) for one in apart] == [
        ["query-ivfpq (orin)"], ["query-ivfpq (xavier)"], ["query-ivfpq (xavier) 2"]
    ]  # fmt: skip
    html = report_from_records(apart)
    assert all(html.count(name) >= 3 for name in names)
    assert told_apart([record], ["p"]) == [record]


def test_report_of_two_folders_of_one_name(
    record: ProfileRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their paths tell them apart."""
    for board in ("orin", "xavier"):
        with write_artifact(tmp_path / board / "profile", "profile") as folder:
            write_json(folder / "profile.json", record)
    profiles = [str(tmp_path / board / "profile") for board in ("orin", "xavier")]
    run(["report", *profiles, "-o", str(tmp_path / "r.html"), "--json"])
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert len({each["configuration"] for each in rows}) == 4
    assert f"query-ivfpq ({profiles[1]})" in [each["configuration"] for each in rows]


def through(row: Callable[..., ProfileRow], name: str, exit: str, **made: float) -> ProfileRow:
    found = row(f"{name}-{exit}", **made)
    return msgspec.structs.replace(found, facts={**found.facts, "exit": exit})


@pytest.fixture
def anytime(row: Callable[..., ProfileRow], record: ProfileRecord) -> ProfileRecord:
    """Exits of a bundle, of which L6 is slower than L8 and no better; then with exact search."""
    exits = {"L4": (2.0, 80.0), "L6": (4.0, 86.0), "L8": (3.5, 87.0), "full": (6.0, 92.0)}
    rows = [
        through(row, name, exit, engine_ms=ms, r1=r1 + more)
        for name, more in (("b", 0.0), ("b-exact", 1.0))
        for exit, (ms, r1) in exits.items()
    ]
    return msgspec.structs.replace(record, rows=rows)


def test_one_line_for_the_exits_of_a_bundle(
    row: Callable[..., ProfileRow], anytime: ProfileRecord
) -> None:
    """Other networks, other searches and the same bundle in another profile have their own."""
    static = row("small", engine_ms=1.0)
    lines = exit_lines([static, *anytime.rows, *anytime.rows[:4], static])
    assert [len(line) for line in lines] == [1, 4, 4, 4, 1]
    assert [r.configuration for r in pareto_front(lines[1])] == ["b-L4", "b-L8", "b-full"]
    unlabelled = msgspec.structs.replace(anytime.rows[1], r1=None)
    assert pareto_front([unlabelled]) == []
    figure = recall_figure([static, *anytime.rows])
    assert figure is not None
    assert "A line joins the exits" in figure.caption
    only = recall_figure([static])
    assert only is not None
    assert "A line joins" not in only.caption


def test_the_report_says_which_exits_are_beaten(
    row: Callable[..., ProfileRow], anytime: ProfileRecord
) -> None:
    """By a network without exits, on the same device with as many queries; the full path is none
    of the exits."""

    def said(static: ProfileRow, **change: object) -> list[str]:
        other = msgspec.structs.replace(anytime, rows=[static], **change)
        return exits_beaten([anytime, other])

    assert exits_beaten([anytime]) == []
    slow = said(row("slow", engine_ms=50.0, r1=95.0))
    assert slow == ["No early exit is beaten by a network without exits, in time and R@1 together."]
    better = said(row("small", engine_ms=1.0, r1=86.5))
    assert [line.split(" is ")[0] for line in better] == ["b-L4", "b-L6", "b-exact-L4"]
    assert "beaten by small" in better[0]
    assert "R@1 86.5" in better[0]
    assert said(row("small", engine_ms=1.0, r1=86.5), queries=7) == []
    page = report_from_records(
        [anytime, msgspec.structs.replace(anytime, rows=[row("slow", engine_ms=50.0)])]
    )
    assert "No early exit is beaten" in page
