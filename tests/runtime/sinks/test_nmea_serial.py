"""NMEA over a serial line, on a pair of pseudo-terminals."""

import os
import sys
import threading
import tty
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from edgevpr.errors import MissingExtraError, ResourceError, UsageError
from edgevpr.runtime.sinks import NmeaSerial, open_sink
from edgevpr.runtime.sinks.nmea import sentence

from ..answers import UNREADABLE, answer


@dataclass
class Line:
    """One end is the autopilot's, the other a device."""

    end: int
    device: str

    def read(self, lines: int) -> list[str]:
        text = b""
        while text.count(b"\n") < lines:
            text += os.read(self.end, 4096)
        return text.decode().split("\r\n")[:-1]


@pytest.fixture
def line() -> Iterator[Line]:
    end, device = os.openpty()
    tty.setraw(device)
    yield Line(end, os.ttyname(device))
    for each in (end, device):
        os.close(each)


def test_fixes_on_the_line(line: Line) -> None:
    """Sentences are those of the answers, their line ends unchanged by the terminal."""
    with open_sink(f"nmea-serial:{line.device}?baud=9600&min_score=0.5") as sink:
        kinds = []
        for each in (answer(0.9), answer(0.9, known=False), answer(0.4), UNREADABLE):
            sink.write(each)
            gga, rmc = line.read(2)
            assert gga.startswith("$GPGGA,")
            kinds.append((gga.split(",")[6], rmc.split(",")[2]))
    assert kinds == [("1", "A"), ("0", "V"), ("0", "V"), ("0", "V")]
    assert isinstance(sink, NmeaSerial)
    assert sink.skipped == 0


def test_a_line_that_is_not_read(line: Line) -> None:
    """A line that is not read does not block, and gets whole sentences only."""
    with NmeaSerial(line.device) as sink:
        done = threading.Event()

        def write() -> None:
            for _ in range(2000):
                sink.write(answer(0.9))
            done.set()

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        assert done.wait(30)
        assert sink.skipped > 0
        os.set_blocking(line.end, False)
        text = b""
        for _ in range(5):
            while True:
                try:
                    text += os.read(line.end, 65536)
                except BlockingIOError:
                    break
            sink.write(answer(0.9))
    sentences = text.decode().split("\r\n")[:-1]
    assert len(sentences) > 4
    for each in sentences:
        body = each.removeprefix("$").partition("*")[0]
        assert sentence(body) == f"{each}\r\n".encode()


def test_a_line_that_is_pulled(line: Line) -> None:
    end, device = os.openpty()
    name = os.ttyname(device)
    with NmeaSerial(name) as sink:
        os.close(device)
        os.close(end)
        with pytest.raises(ResourceError, match=f"{name} gone"):
            sink.write(answer(0.9))


def test_lines_that_do_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing device, a bad rate and a missing package are one sentence each."""
    with pytest.raises(ResourceError, match="found no serial line at /dev/ttyNONE with 38400"):
        open_sink("nmea-serial:/dev/ttyNONE")
    with pytest.raises(UsageError, match="nmea-serial:/dev/ttyX"):
        open_sink("nmea-serial:/dev/ttyS0?baud=fast")
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(MissingExtraError, match=r"edgevpr\[serial\]"):
        open_sink("nmea-serial:/dev/ttyS0")
