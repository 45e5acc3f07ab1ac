"""Content of a file by its first bytes: picture, video, recording, text; names say too little.

Downloads, phones and scripts give files any ending, and FFmpeg plays a text as a video of letters.
"""

from pathlib import Path
from typing import Literal

Content = Literal["image", "video", "mcap", "db3", "zstd", "text", "other"]

#: First bytes -> content.
_MAGIC: dict[bytes, Content] = {
    b"\xff\xd8\xff": "image",
    b"\x89PNG\r\n\x1a\n": "image",
    b"BM": "image",
    b"II*\x00": "image",
    b"MM\x00*": "image",
    b"\x1aE\xdf\xa3": "video",  # Matroska, WebM
    b"\x89MCAP0\r\n": "mcap",
    b"SQLite format 3\x00": "db3",
    b"\x28\xb5\x2f\xfd": "zstd",
}
#: Brands of the ISO base format that are pictures: HEIF and AVIF. The others are mp4 and mov.
_PICTURES = (b"heic", b"heix", b"heif", b"mif1", b"msf1", b"avif", b"avis")
#: Pictures one behind the other, which begin as a single one does.
_MOTION_JPEG = (".mjpg", ".mjpeg", ".mjp")
#: First bytes of texts that a video is described in, and of a video that begins with words.
_TEXT_VIDEO = (b"#EXTM3U", b"v=0", b"ffconcat", b"YUV4MPEG2", b"<?xml", b"<MPD")
_HEAD = 4096
#: Bytes that no text holds: control characters without tab, line feeds, form feed and escape.
_CONTROLS = bytes({*range(32), 127} - {9, 10, 12, 13, 27})


def content_of(path: Path) -> Content:
    """The content of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    for magic, content in _MAGIC.items():
        if head.startswith(magic) and (magic != b"BM" or _is_bitmap(head)):
            motion = content == "image" and path.suffix.lower() in _MOTION_JPEG
            return "video" if motion else content
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"AVI "):
        return "image" if head[8:12] == b"WEBP" else "video"
    if head[4:8] == b"ftyp":
        return "image" if head[8:12] in _PICTURES else "video"
    return "text" if _is_text(head) else "other"


def _is_bitmap(head: bytes) -> bool:
    """BM is how a text may begin, too; the size of the second header is small."""
    return 12 <= int.from_bytes(head[14:18], "little") <= 124


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        return True
    head = head.removeprefix(b"\xef\xbb\xbf")
    if not head or head.lstrip().startswith(_TEXT_VIDEO):
        return False
    return len(head.translate(None, _CONTROLS)) == len(head)
