"""NMEA 0183 for autopilots: answers as the fixes of a GPS receiver, over TCP.

Sentences GGA and RMC with talker GP, checksummed. An answer that is no fix gives sentences without
one (quality 0, status V), as from a receiver that sees no satellites.
"""

import contextlib
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from types import TracebackType

from edgevpr.errors import ResourceError
from edgevpr.runtime.answers import Answer, FrameError
from edgevpr.runtime.sinks.position import FixRule
from edgevpr.runtime.sources.frames import Frame

#: Most clients at once; an autopilot is one.
MOST_CLIENTS = 64
#: Open files that clients leave to the run: a gallery that is opened beside this one, cameras.
_SPARED = 48
#: Seconds after which a listener that failed is asked again.
_AGAIN_S = 0.2


@dataclass(frozen=True)
class NmeaOptions:
    """Rule of a fix, and the fields of a sentence that a camera does not know."""

    rule: FixRule = field(default_factory=FixRule)
    #: in GGA; none were seen, so more is a choice of whoever configures an autopilot. 0 to 99.
    satellites: int = 0
    #: metres above mean sea level in GGA; None leaves the field empty.
    altitude: float | None = None
    #: dilution of precision in GGA, 0.1 to 99.9: a place is tens of metres wide, a receiver's
    #: usual value is 1.
    hdop: float = 9.9

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("satellites", self.satellites, 0, 99),
            ("altitude", self.altitude or 0.0, -1000, 20_000),
            ("hdop", self.hdop, 0.1, 99.9),
        ):
            if not least <= value <= most:
                raise ValueError(f"{name}={value:g} is not within {least:g} to {most:g}")


def sentence(body: str) -> bytes:
    """``GPGGA,...`` -> ``$GPGGA,...*hh`` and the line's end."""
    checksum = 0
    for byte in body.encode("ascii"):
        checksum ^= byte
    return f"${body}*{checksum:02X}\r\n".encode("ascii")


def degrees_minutes(value: float, width: int) -> str:
    """48.1173 -> ``4807.0380``; ``width`` digits of degrees, rounded as one number."""
    tenthousandths = round(abs(value) * 600000)
    degrees, rest = divmod(tenthousandths, 600000)
    return f"{degrees:0{width}d}{rest // 10000:02d}.{rest % 10000:04d}"


def fix(
    moment: float, where: tuple[float, float] | None, options: NmeaOptions | None = None
) -> bytes:
    """GGA and RMC for a position, or without one.

    Args:
        moment: when the frame was taken, Unix seconds.
        where: (lat, lon), degrees.
    """
    options = options or NmeaOptions()
    when = datetime.fromtimestamp(moment, timezone.utc)
    clock, date = f"{when:%H%M%S}.{when.microsecond // 10000:02d}", f"{when:%d%m%y}"
    if where is None:
        gga, rmc = f"GPGGA,{clock},,,,,0,00,,,M,,M,,", f"GPRMC,{clock},V,,,,,,,{date},,,N"
    else:
        lat, lon = where
        at = (
            f"{degrees_minutes(lat, 2)},{'S' if lat < 0 else 'N'},"
            f"{degrees_minutes(lon, 3)},{'W' if lon < 0 else 'E'}"
        )
        height = "" if options.altitude is None else f"{options.altitude:.1f}"
        gga = f"GPGGA,{clock},{at},1,{options.satellites:02d},{options.hdop:.1f},{height},M,,M,,"
        rmc = f"GPRMC,{clock},A,{at},,,{date},,,A"
    return sentence(gga) + sentence(rmc)


def fix_sentences(answer: Answer | FrameError, options: NmeaOptions) -> bytes:
    """GGA and RMC for an answer, of the moment its frame's pixels were there."""
    moment = time.time()
    if isinstance(answer, Answer):
        moment -= answer.frame_age_ms / 1000
    return fix(moment, options.rule.fix(answer), options)


def _numbered_anew(client: socket.socket) -> socket.socket:
    """The client under the lowest free descriptor; itself where there is none."""
    try:
        again = client.dup()
    except OSError:
        return client
    client.close()
    return again


class NmeaServer:
    """Server of fixes to every client; one that does not read is disconnected.

    Clients beyond ``MOST_CLIENTS``, or beyond what the limit of open files leaves, are hung up on
    at once, after those that have gone were cleared away; they get in when others have left.

    Args:
        host: address to listen on; loopback when left out.
        port: 0 takes a free one, see ``address``.
        options: what makes an answer a fix, and what else the sentences say.

    Raises:
        ResourceError: the port is taken, or not this user's to open.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 10110, options: NmeaOptions | None = None
    ) -> None:
        self.options = options or NmeaOptions()
        try:
            self._listener = socket.create_server((host, port))
        except OSError as error:
            raise ResourceError(
                f"found that {host}:{port} cannot be listened on ({error}), expected a free port: "
                f"choose another one, nmea-tcp://{host}:PORT"
            ) from error
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._clients: list[socket.socket] = []
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> "NmeaServer":
        return self

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed, a client that has gone already, or no descriptor left
                self._closing.wait(_AGAIN_S)
                continue
            client.setblocking(False)
            with self._lock:
                if self._full(client):
                    self._clear()
                    client = _numbered_anew(client)
                if self._full(client):
                    client.close()
                else:
                    self._clients.append(client)

    def _full(self, client: socket.socket) -> bool:
        """Whether there is no room for one more; descriptors are numbered from the lowest free."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        few = limit != resource.RLIM_INFINITY and client.fileno() >= limit - min(
            _SPARED, limit // 4
        )
        return few or len(self._clients) >= MOST_CLIENTS

    def _clear(self) -> None:
        """Close clients that have hung up; without answers to send nobody has noticed."""
        poll = select.poll()
        for client in self._clients:
            poll.register(client, select.POLLRDHUP)
        gone = {descriptor for descriptor, _ in poll.poll(0)}
        for client in [each for each in self._clients if each.fileno() in gone]:
            self._clients.remove(client)
            client.close()

    def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
        """Send one fix; never waits for a client."""
        self._send(fix_sentences(answer, self.options))

    def _send(self, data: bytes) -> None:
        with self._lock:
            for client in list(self._clients):
                try:
                    whole = client.send(data) == len(data)
                except OSError:
                    whole = False
                if not whole:  # gone, or its buffer is full: no half sentences
                    self._clients.remove(client)
                    client.close()

    def clients(self) -> Iterator[tuple[str, int]]:
        """Addresses of the clients."""
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            with contextlib.suppress(OSError):
                yield client.getpeername()[:2]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        # A thread that waits in accept is woken by a shutdown, not by a close.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(timeout=5)
        with self._lock:
            for client in self._clients:
                client.close()
            self._clients.clear()
