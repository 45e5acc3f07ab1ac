"""Reader of MCAP files without their end, as a recorder that lost power leaves them.

Libraries that open MCAP files by the index at their end refuse such a file; the ``mcap`` library
also reads the records one after the other.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgevpr.optional import require


def topics(path: Path) -> list[tuple[str, str, int]]:
    """(topic, message type, messages) of every channel; reads the file once.

    Raises:
        MissingExtraError: without the ``mcap`` package.
    """
    types: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for topic, kind, _, _ in _messages(path):
        types[topic] = kind
        counts[topic] += 1
    return [(topic, kind, counts[topic]) for topic, kind in types.items()]


def messages(path: Path, topic: str) -> Iterator[tuple[int, bytes]]:
    """(nanoseconds when it was recorded, CDR message) of one topic, as they stand in the file."""
    for name, _, recorded, data in _messages(path):
        if name == topic:
            yield recorded, data


def _messages(path: Path) -> Iterator[tuple[str, str, int, bytes]]:
    """(topic, message type, nanoseconds, message) until the file ends or a record is torn."""
    require("mcap", extra="bags")
    from mcap.records import Channel, Message, Schema
    from mcap.stream_reader import StreamReader

    schemas: dict[int, str] = {}
    channels: dict[int, tuple[str, str]] = {}
    with path.open("rb") as stream:
        records: Iterator[Any] = StreamReader(stream, validate_crcs=True).records
        while True:
            try:
                record = next(records, None)
            except MemoryError:
                raise
            except Exception:
                # Parsers raise anything on a torn record: the file ends here.
                return
            if record is None:
                return
            if isinstance(record, Schema):
                schemas[record.id] = record.name
            elif isinstance(record, Channel) and record.message_encoding == "cdr":
                channels[record.id] = record.topic, schemas.get(record.schema_id, "")
            elif isinstance(record, Message) and record.channel_id in channels:
                yield (*channels[record.channel_id], record.log_time, record.data)
