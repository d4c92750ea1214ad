"""Messages between a run and its workers: a JSON header and bytes, each with its length before it. No torch."""

import json
import struct
from typing import IO, Any, NamedTuple

_LENGTHS = struct.Struct(">IQQ")


class Message(NamedTuple):
    """A message with a header and binary content."""

    header: dict[str, Any]
    """Header of the message, as JSON."""
    content: bytes = b""
    """Bytes of the main content."""
    extra: bytes = b""
    """Bytes of further content."""


def send(stream: IO[bytes], message: Message) -> None:
    """Write a message.

    Raises:
        OSError: The reader has closed the pipe.
    """
    header = json.dumps(message.header).encode()
    lengths = _LENGTHS.pack(len(header), len(message.content), len(message.extra))
    stream.write(lengths + header + message.content + message.extra)
    stream.flush()


def receive(stream: IO[bytes]) -> Message:
    """Read a message.

    Raises:
        EOFError: The other side is gone, perhaps in the middle of a sentence.

    Example:
        >>> import io
        >>> line = io.BytesIO()
        >>> send(line, Message({"unit": 7}, b"rows"))
        >>> _ = line.seek(0)
        >>> receive(line)
        Message(header={'unit': 7}, content=b'rows', extra=b'')
    """
    lengths = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    header, content, extra = (_exactly(stream, length) for length in lengths)
    return Message(json.loads(header), content, extra)


def _exactly(stream: IO[bytes], length: int) -> bytes:
    found = stream.read(length)
    if len(found) < length:
        raise EOFError("the other side is gone")
    return found
