"""NMEA 0183 for autopilots: answers as the fixes of a GPS receiver, over TCP.

Sentences GGA and RMC with talker GP, checksummed. A frame without a known place gives sentences
without a fix (quality 0, status V), as from a receiver that sees no satellites.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from types import TracebackType

from edgevpr.errors import ResourceError
from edgevpr.runtime.answers import Answer, FrameError
from edgevpr.runtime.sinks.position import fix_of
from edgevpr.runtime.sources.frames import Frame

#: Dilution of precision in GGA: a place is tens of metres wide, a receiver's usual value is 1.
HDOP = 9.9


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


def fix(moment: float, lat: float | None, lon: float | None) -> bytes:
    """GGA and RMC for a position in degrees, or without one.

    Args:
        moment: when the frame was taken, Unix seconds.
    """
    when = datetime.fromtimestamp(moment, timezone.utc)
    clock, date = f"{when:%H%M%S}.{when.microsecond // 10000:02d}", f"{when:%d%m%y}"
    if lat is None or lon is None:
        gga, rmc = f"GPGGA,{clock},,,,,0,00,,,M,,M,,", f"GPRMC,{clock},V,,,,,,,{date},,,N"
    else:
        where = (
            f"{degrees_minutes(lat, 2)},{'S' if lat < 0 else 'N'},"
            f"{degrees_minutes(lon, 3)},{'W' if lon < 0 else 'E'}"
        )
        gga = f"GPGGA,{clock},{where},1,00,{HDOP},,M,,M,,"
        rmc = f"GPRMC,{clock},A,{where},,,{date},,,A"
    return sentence(gga) + sentence(rmc)


def fix_sentences(answer: Answer | FrameError, min_score: float = 0.0) -> bytes:
    """GGA and RMC for an answer, of the moment its frame's pixels were there."""
    moment = time.time()
    if isinstance(answer, Answer):
        moment -= answer.frame_age_ms / 1000
    return fix(moment, *(fix_of(answer, min_score) or (None, None)))


class NmeaServer:
    """Server of fixes to every client; one that does not read is disconnected.

    Args:
        host: address to listen on; loopback when left out.
        port: 0 takes a free one, see ``address``.
        min_score: similarity below which a place is not a fix.

    Raises:
        ResourceError: the port is taken, or not this user's to open.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 10110, min_score: float = 0.0) -> None:
        self.min_score = min_score
        try:
            self._listener = socket.create_server((host, port))
        except OSError as error:
            raise ResourceError(
                f"found that {host}:{port} cannot be listened on ({error}), expected a free port: "
                f"choose another one, nmea-tcp://{host}:PORT"
            ) from error
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._clients: list[socket.socket] = []
        self._lock = threading.Lock()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> "NmeaServer":
        return self

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            client.setblocking(False)
            with self._lock:
                self._clients.append(client)

    def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
        """Send one fix; never waits for a client."""
        self._send(fix_sentences(answer, self.min_score))

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
        # A thread that waits in accept is woken by a shutdown, not by a close.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(timeout=5)
        with self._lock:
            for client in self._clients:
                client.close()
            self._clients.clear()
