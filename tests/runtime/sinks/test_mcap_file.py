"""The MCAP sink, read back by a second implementation of ROS's messages."""

import csv
import math
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.rosbag2 import Reader

from edgevpr.errors import MissingExtraError
from edgevpr.runtime.sinks import McapFile, PartFile, open_sink
from edgevpr.runtime.sinks.mcap_file import TOPICS
from edgevpr.runtime.sources import cut_mcap

from ..answers import LAT, LON, UNREADABLE, answer


def messages_in(path: Path) -> list[tuple[str, int, Any]]:
    """(topic, log time, message) of every message."""
    with path.open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        return [
            (channel.topic, message.log_time, decoded)
            for _, channel, message, decoded in reader.iter_decoded_messages()
        ]


def write(uri: str, *answers: Any, complete: bool = True) -> None:
    with open_sink(uri) as sink:
        assert isinstance(sink, PartFile)
        for each in answers:
            sink.write(each)
        sink.complete = complete


def test_messages_hold_the_answer(tmp_path: Path) -> None:
    """Fields, covariance and times of the frame, decoded by another implementation."""
    path = tmp_path / "deep" / "out.mcap"
    near = ((LAT + 0.0001, LON, 0.9),)
    write(f"mcap:{path}", answer(0.9, others=near, confidence=0.5, known=True))
    messages = messages_in(path)
    assert [topic for topic, _, _ in messages] == ["/edgevpr/fix", "/edgevpr/pose", "/diagnostics"]
    assert {at for _, at, _ in messages} == {1_700_000_000_250_000_000}
    fix, pose, diagnostics = (message for _, _, message in messages)
    assert (fix.header.stamp.sec, fix.header.stamp.nanosec) == (1_700_000_000, 250_000_000)
    assert fix.header.frame_id == "camera"
    assert (fix.status.status, fix.latitude, fix.longitude) == (0, LAT, LON)
    assert math.isnan(fix.altitude)
    assert fix.position_covariance_type == 1
    east, north, up = (fix.position_covariance[i] for i in (0, 4, 8))
    assert 190 < east < 210 < north < 400 < up
    assert pose.header.frame_id == "utm"
    assert 600_000 < pose.pose.pose.position.x < 700_000
    assert 5_300_000 < pose.pose.pose.position.y < 5_400_000
    assert (pose.pose.covariance[0], pose.pose.covariance[7]) == (east, north)
    assert [pose.pose.covariance[i] for i in (14, 21, 28, 35)] == [1e6] * 4
    status = diagnostics.status[0]
    values = {pair.key: pair.value for pair in status.values}
    assert status.message == "at place 7"
    assert (values["score"], values["confidence"], values["known"]) == ("0.9", "0.5", "True")
    assert [p.name for p in path.parent.iterdir()] == ["out.mcap"]


def test_an_answer_that_is_no_fix(tmp_path: Path) -> None:
    """An answer that is no fix gives no pose and a NaN position."""
    path = tmp_path / "out.mcap"
    write(f"mcap:{path}?min_score=0.5", answer(known=False), answer(0.4), UNREADABLE)
    messages = messages_in(path)
    assert [topic for topic, _, _ in messages] == ["/edgevpr/fix", "/diagnostics"] * 3
    for topic, _, message in messages:
        if topic == "/edgevpr/fix":
            assert message.status.status == -1
            assert math.isnan(message.latitude)
            assert message.position_covariance_type == 0
    levels = [m.status[0].level for topic, _, m in messages if topic == "/diagnostics"]
    assert [int.from_bytes(x, "little") if isinstance(x, bytes) else x for x in levels] == [1, 1, 2]


def test_options_and_times(tmp_path: Path) -> None:
    """Options reach the messages; times of videos and images become Unix times."""
    path = tmp_path / "out.mcap"
    started = time.time()
    write(
        f"mcap:{path}?origin={LAT - 0.001},{LON}&frame_id=front&altitude=510",
        answer(time=2.5),
        answer(time=None, age_ms=40_000),
    )
    messages = messages_in(path)
    fixes = [(at, m) for topic, at, m in messages if topic == "/edgevpr/fix"]
    poses = [m for topic, _, m in messages if topic == "/edgevpr/pose"]
    assert fixes[0][1].header.frame_id == "front"
    assert fixes[0][1].altitude == 510
    assert poses[0].header.frame_id == "map"
    assert poses[0].pose.pose.position.x == pytest.approx(0, abs=0.01)
    assert poses[0].pose.pose.position.y == pytest.approx(111.2, abs=0.2)
    # 2.5 s into the video that began with the run; 40 s old when it was answered.
    assert started + 2.4 < max(at for at, _ in fixes) / 1e9 < time.time() + 2.6
    assert started - 40.1 < min(at for at, _ in fixes) / 1e9 < time.time() - 39.9


def test_another_library_reads_it(tmp_path: Path) -> None:
    """The file has an index, and types that other tools accept."""
    path = tmp_path / "out.mcap"
    write(f"mcap:{path}", *(answer(frame=i, time=1.7e9 + i) for i in range(50)))
    with Reader(path) as reader:
        counts = {each.topic: each.msgcount for each in reader.connections}
        assert counts == {"/edgevpr/fix": 50, "/edgevpr/pose": 50, "/diagnostics": 50}
        assert reader.duration == 49 * 10**9 + 1
        assert all("string" in c.msgdef.data for c in reader.connections)


def test_interrupted_run_leaves_a_readable_part(tmp_path: Path) -> None:
    """An interrupted run leaves a part file that can be read."""
    path = tmp_path / "out.mcap"
    write(f"mcap:{path}", answer(), answer(), complete=False)
    assert not path.exists()
    assert len(messages_in(tmp_path / "out.mcap.part")) == 6


def test_power_cut_loses_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are on the disk while the run goes on."""
    monkeypatch.setattr("edgevpr.runtime.sinks.mcap_file.FLUSH_S", 0.0)
    path = tmp_path / "out.mcap"
    with McapFile(path) as sink:
        sink.write(answer())
        shutil.copy(sink.part, tmp_path / "copy.mcap")
    assert cut_mcap.topics(tmp_path / "copy.mcap") == [(t, TOPICS[t], 1) for t in TOPICS]


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcap.writer", None)
    with pytest.raises(MissingExtraError, match=r"edgevpr\[bags\]"):
        open_sink(f"mcap:{tmp_path}/a.mcap")


@pytest.mark.parametrize("small_disk", ["64k"], indirect=True)
@pytest.mark.parametrize("kind", ["mcap", "csv"])
def test_full_disk(small_disk: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is reported, and what was written before stays readable."""
    monkeypatch.setattr("edgevpr.runtime.sinks.mcap_file.FLUSH_S", 0.0)
    sink = open_sink(f"{kind}:{small_disk}/out.{kind}")
    written = []

    def run() -> None:
        with sink as file:
            assert isinstance(file, PartFile)
            file.complete = True
            for i in range(5000):
                file.write(answer(frame=i))
                written.append(i)

    with pytest.raises(OSError, match="No space left") as caught:
        run()
    part = small_disk / f"out.{kind}.part"
    assert caught.value.filename == str(part)
    assert not (small_disk / f"out.{kind}").exists()
    assert len(written) > 10
    if kind == "csv":
        rows = list(csv.DictReader(part.open()))
        assert [int(row["frame"]) for row in rows] == written
        assert all(row["total_ms"] for row in rows)
    else:
        counts = {topic: count for topic, _, count in cut_mcap.topics(part)}
        assert len(written) <= counts["/edgevpr/fix"] <= len(written) + 1
