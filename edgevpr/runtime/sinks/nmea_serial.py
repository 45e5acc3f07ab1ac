"""NMEA 0183 over a serial line, as from a GPS receiver to an autopilot."""

import contextlib
import select
import termios
from types import TracebackType
from typing import Any

from edgevpr.errors import ResourceError
from edgevpr.optional import require
from edgevpr.runtime.answers import Answer, FrameError
from edgevpr.runtime.sinks.nmea import NmeaOptions, fix_sentences
from edgevpr.runtime.sources.frames import Frame

#: The rate of NMEA 0183-HS, for GGA and RMC up to 25 times a second; plain NMEA 0183 has 4800.
BAUD = 38400


class NmeaSerial:
    """Writer of fixes to a serial device, 8 bits, no parity, one stop bit; never waits for it.

    A line slower than the answers gets fewer fixes, each whole: while the last one is on its way
    the next is left out. A device that is pulled ends the run.

    Raises:
        MissingExtraError: without pyserial.
        ResourceError: no such device, or not this user's to open.
    """

    def __init__(self, device: str, baud: int = BAUD, options: NmeaOptions | None = None) -> None:
        self.options = options or NmeaOptions()
        #: fixes left out because the line was busy.
        self.skipped = 0
        self._serial = require("serial", extra="serial")
        try:
            # A fix that does not fit is finished by later writes, so none of them may wait.
            self._line: Any = self._serial.Serial(device, baud, write_timeout=0)
        except (OSError, ValueError) as error:
            raise ResourceError(
                f"found no serial line at {device} with {baud} baud ({error}), expected a device "
                "of this user's: look with 'ls -l /dev/tty*', and add the user to the group dialout"
            ) from error
        self._rest = b""

    def __enter__(self) -> "NmeaSerial":
        return self

    def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
        """Send one fix, or the rest of the one before.

        Raises:
            ResourceError: the device is gone.
        """
        try:
            # Bytes still waiting for a slow line are an old position.
            if not self._rest and self._line.out_waiting == 0:
                self._rest = fix_sentences(answer, self.options)
            else:
                self.skipped += 1
            # Checked first: pyserial's write loops until the line has room.
            if self._rest and select.select([], [self._line], [], 0)[1]:
                self._rest = self._rest[self._line.write(self._rest) :]
        except OSError as error:
            raise ResourceError(
                f"found the serial line {self._line.port} gone ({error}), expected it to stay: "
                "check the cable"
            ) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Bytes still waiting are an old position; the device may be gone.
        with contextlib.suppress(OSError, termios.error):
            self._line.reset_output_buffer()
        self._line.close()
