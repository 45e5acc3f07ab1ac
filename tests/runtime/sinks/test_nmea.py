"""NMEA 0183: sentences against published examples, and a real client over TCP."""

import socket
import subprocess
import sys
import time

import pytest

from edgevpr.errors import ResourceError, UsageError
from edgevpr.runtime.answers import Answer, FrameError, StageTimes
from edgevpr.runtime.sinks import nmea, open_sink
from edgevpr.runtime.sinks.nmea import NmeaOptions, NmeaServer, degrees_minutes, fix, sentence
from edgevpr.runtime.sinks.position import FixRule

TIMES = StageTimes(0, 0, 0, 0, 0)


def _answer(score: float) -> Answer:
    return Answer(0, "", None, 0.0, 7, 48.1173, -11.516667, score, [], TIMES, known=True)


def test_checksum_of_a_published_sentence() -> None:
    body = "GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,"
    assert sentence(body) == f"${body}*47\r\n".encode()


@pytest.mark.parametrize(
    ("value", "width", "text"),
    [
        (48.1173, 2, "4807.0380"),
        (-11.516667, 3, "01131.0000"),
        (0.0, 3, "00000.0000"),
        (9.99999999, 2, "1000.0000"),
    ],
)
def test_degrees_and_minutes(value: float, width: int, text: str) -> None:
    """Rounding carries into the degrees; minutes stay below 60."""
    assert degrees_minutes(value, width) == text


def test_a_fix_and_none() -> None:
    """South and west are written as such; an answer that is no fix has status V."""
    moment = 1_700_000_000.25
    lines = fix(moment, (-33.5, -70.25)).decode().split("\r\n")
    assert lines[0].startswith("$GPGGA,221320.25,3330.0000,S,07015.0000,W,1,")
    assert lines[1].startswith("$GPRMC,221320.25,A,3330.0000,S,07015.0000,W,,,141123,")
    lost = fix(moment, None).decode().split("\r\n")
    assert lost[0].split(",")[6] == "0"
    assert lost[1].split(",")[2] == "V"


def test_what_an_autopilot_asks_for() -> None:
    """Satellites, dilution of precision and altitude in their fields of GGA, by URI."""
    sink = open_sink("nmea-tcp://:0?satellites=8&hdop=1.2&altitude=-3.25")
    assert isinstance(sink, NmeaServer)
    with sink:
        fields = fix(1_700_000_000.25, (48.0, 11.0), sink.options).decode().split(",")
    assert fields[6:10] == ["1", "08", "1.2", "-3.2"]
    plain = fix(1_700_000_000.25, (48.0, 11.0)).decode().split(",")
    assert plain[6:10] == ["1", "00", "9.9", ""]


@pytest.mark.parametrize(
    "option",
    [
        "satellites=-1",
        "satellites=100",
        "satellites=6.5",
        "hdop=0",
        "hdop=nan",
        "altitude=inf",
        "altitude=30000",
        "min_score=nan",
        "min_score=2",
    ],
)
def test_options_out_of_range(option: str) -> None:
    """NaN as a least score would let every answer through."""
    with pytest.raises(UsageError, match=f"{option.partition('=')[0]}|invalid literal"):
        open_sink(f"nmea-tcp://:0?{option}")


def test_an_answer_that_nothing_judged_is_no_fix() -> None:
    answer = Answer(0, "", None, 0.0, 7, 48.1, 11.5, 0.9, [], TIMES)
    for assume, status in ((False, b",V,"), (True, b",A,")):
        sink = open_sink("nmea-tcp://:0", assume_known=assume)
        assert isinstance(sink, NmeaServer)
        with sink:
            client = _connected(sink)
            sink.write(answer)
            assert status in client.recv(4096)
            client.close()


def _connected(server: NmeaServer) -> socket.socket:
    client = socket.create_connection(server.address, timeout=5)
    until = time.monotonic() + 5
    while client.getsockname() not in list(server.clients()):
        assert time.monotonic() < until
        time.sleep(0.005)
    return client


def test_clients_come_and_go() -> None:
    """A client that leaves ends neither the run nor the other streams."""
    with NmeaServer(port=0, options=NmeaOptions(FixRule(0.5))) as server:
        server.write(_answer(0.9))  # no client yet
        first, second = _connected(server), _connected(server)
        server.write(_answer(0.9))
        assert b",1,00," in second.recv(4096)
        first.close()
        for _ in range(20):
            server.write(_answer(0.4))
            time.sleep(0.002)
        assert b",0,00," in second.recv(4096)
        server.write(FrameError(1, "", None, "unreadable"))
        assert len(list(server.clients())) == 1
    second.close()


def test_a_client_that_does_not_read_is_disconnected() -> None:
    with NmeaServer(port=0) as server:
        client = _connected(server)
        started = time.monotonic()
        while list(server.clients()):
            server.write(_answer(0.9))
            assert time.monotonic() - started < 60
        client.close()


def test_a_port_that_is_taken() -> None:
    with NmeaServer(port=0) as server:
        port = server.address[1]
        with pytest.raises(ResourceError, match="expected a free port"):
            NmeaServer(port=port)


@pytest.mark.parametrize(
    "uri", ["csv:", "nmea-tcp://", "nmea-tcp://h:99999", "ftp://x", "nmea-tcp://h:1?min_score=a"]
)
def test_unknown_sinks_are_refused(uri: str) -> None:
    with pytest.raises(UsageError, match=r"expected .*(csv:FILE|nmea-tcp:)"):
        open_sink(uri)


def test_loopback_without_a_host() -> None:
    """Without a host the server listens on loopback only."""
    sink = open_sink("nmea-tcp://:0")
    assert isinstance(sink, NmeaServer)
    with sink:
        assert sink.address[0] == "127.0.0.1"


def _is_hung_up(client: socket.socket) -> bool:
    client.settimeout(5)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


#: A server under a limit of open files; after each line on its stdin it tells how many clients.
CROWDED = """
import os, resource, sys
from edgevpr.runtime.answers import FrameError
from edgevpr.runtime.sinks.nmea import NmeaServer
with NmeaServer(port=0) as server:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    print(server.address[1], flush=True)
    mine = []
    for line in sys.stdin:
        if line == "fill\\n":
            try:
                while True:
                    mine.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                pass
        elif line == "empty\\n":
            while mine:
                os.close(mine.pop())
        elif line == "fix\\n":
            server.write(FrameError(1, "", None, "unreadable"))
        print(len(list(server.clients())), flush=True)
"""


def test_more_clients_than_open_files() -> None:
    """They would take the descriptors that the run needs, and end the listener for good."""
    process = subprocess.Popen(
        [sys.executable, "-c", CROWDED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    said, told = process.stdin, process.stdout

    def tell(line: str) -> int:
        said.write(line + "\n")
        said.flush()
        return int(told.readline())

    def until(clients: int) -> None:
        end = time.monotonic() + 20
        while tell("count") != clients:
            assert time.monotonic() < end

    port = int(told.readline())
    first = socket.create_connection(("127.0.0.1", port), timeout=5)
    others = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(80)]
    assert _is_hung_up(others[-1])  # the last in line, so all were taken or refused
    taken = tell("fix")
    assert 8 < taken < 48
    assert first.recv(6) == b"$GPGGA"
    # Those that leave make room without an answer being sent.
    for each in others:
        each.close()
    late = socket.create_connection(("127.0.0.1", port), timeout=5)
    again = socket.create_connection(("127.0.0.1", port), timeout=5)
    until(3)
    tell("fix")
    assert late.recv(6) == b"$GPGGA"
    assert again.recv(6) == b"$GPGGA"
    # With no descriptor at all a client waits, and gets in once there is one; the one before it
    # gets the descriptor that the system had set aside when accept began to wait.
    tell("fill")
    lucky = socket.create_connection(("127.0.0.1", port), timeout=20)
    waiting = socket.create_connection(("127.0.0.1", port), timeout=20)
    until(4)
    tell("empty")
    until(5)
    tell("fix")
    assert lucky.recv(6) == b"$GPGGA"
    assert waiting.recv(6) == b"$GPGGA"
    said.close()
    assert process.wait(20) == 0
    for each in (first, late, again, lucky, waiting):
        each.close()


def test_a_client_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nmea, "MOST_CLIENTS", 1)
    with NmeaServer(port=0) as server:
        first = _connected(server)
        second = socket.create_connection(server.address, timeout=5)
        assert _is_hung_up(second)
        server.write(_answer(0.9))
        assert first.recv(6) == b"$GPGGA"
        first.close()
        third = _connected(server)
        third.close()
