"""NMEA 0183: sentences against published examples, and a real client over TCP."""

import socket
import time

import pytest

from edgevpr.errors import ResourceError, UsageError
from edgevpr.runtime.answers import Answer, FrameError, StageTimes
from edgevpr.runtime.sinks import open_sink
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
