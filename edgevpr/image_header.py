"""Header of an image file: its format and its size in pixels, read without decoding."""

import struct
from collections.abc import Iterator

#: Pixels of the largest image that is decoded: 0.8 GB of RGB. A PNG of one colour and a thousand
#: times that fits a few MB.
MAX_PIXELS = 1 << 28
#: Bytes from the start of a file that ``image_format`` looks at.
START = 16

_FORMATS = (
    (".jpg", b"\xff\xd8\xff"),
    (".png", b"\x89PNG\r\n\x1a\n"),
    (".tif", b"II*\0"),
    (".tif", b"MM\0*"),
    (".bmp", b"BM"),
)
#: JPEG's start-of-frame markers: C0 to CF without DHT, JPG and DAC (ITU-T T.81, table B.1).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Start of scan.
SCAN = 0xDA
#: A byte FF of data, TEM, restarts, start and end of image: no length follows.
_ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})


def image_format(data: bytes) -> str | None:
    """``.jpg``, ``.png``, ``.webp``, ``.bmp`` or ``.tif`` by how a file starts; None for others."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    return next((name for name, magic in _FORMATS if data.startswith(magic)), None)


def image_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels as the header of an image file says; None where it says none."""
    sizes = {".jpg": _jpeg, ".png": _png, ".webp": _webp, ".bmp": _bmp, ".tif": _tiff}
    name = image_format(data)
    try:
        return sizes[name](data) if name is not None else None
    except (struct.error, IndexError):
        return None


def _png(data: bytes) -> tuple[int, int] | None:
    width, height = struct.unpack_from(">LL", data, 16)
    return width, height


def _bmp(data: bytes) -> tuple[int, int] | None:
    if struct.unpack_from("<L", data, 14)[0] == 12:  # OS/2
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ll", data, 18)
    return abs(width), abs(height)


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
    if kind == b"VP8L":
        bits = struct.unpack_from("<L", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, where its FF is) of a JPEG's segments up to the first scan, that included.

    Fill bytes are stepped over, and bytes that belong to no segment too, as libjpeg does: USB
    cameras write some. Markers without a length (T.81, table B.1) have no content.
    """
    at = 2
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 1:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _ALONE:
            at += 2
        else:
            yield marker, at
            if marker == SCAN:
                return
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def _jpeg(data: bytes) -> tuple[int, int] | None:
    for marker, at in jpeg_segments(data):
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
    return None


def _tiff(data: bytes) -> tuple[int, int] | None:
    """Of the first image in the file."""
    order = "<" if data[:2] == b"II" else ">"
    at = struct.unpack_from(f"{order}L", data, 4)[0]
    size: dict[int, int] = {}
    for entry in range(struct.unpack_from(f"{order}H", data, at)[0]):
        start = at + 2 + 12 * entry
        tag, kind = struct.unpack_from(f"{order}HH", data, start)
        if tag in (256, 257):
            size[tag] = struct.unpack_from(order + ("H" if kind == 3 else "L"), data, start + 8)[0]
    return (size[256], size[257]) if len(size) == 2 else None
