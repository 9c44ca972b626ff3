"""Files on the user's disk: which kind they are is told by their content, never by their name."""

import io
import json
from collections.abc import Iterator
from typing import BinaryIO, Final

from headwater.ingest import jaeger, otlp, otlp_json, parquet
from headwater.ingest.limits import FROM_FILE
from headwater.model.errors import UndecodableError, UsageError
from headwater.model.spans import SpanBatch, SpanTable, WireRows

KINDS: Final = "OTLP/JSON lines, an OTLP protobuf file, Jaeger JSON, or Parquet exported by headwater"


def read_file(name: str, stream: BinaryIO) -> Iterator[SpanBatch]:
    """The spans of one file in parts, in its order.

    UsageError naming the file and the allowed kinds, before the first part, if it is none of them. In a file of JSON lines a line that is no request
    is counted as rejected (malformed_line) and the others are kept; a protobuf file that ends early gives nothing.
    """
    head = stream.read(len(parquet.MAGIC))
    rest = _Prefixed(head, stream)
    try:
        if head == parquet.MAGIC:
            yield from parquet.decode_parts(io.BytesIO(rest.read()))
        elif head.lstrip()[:1] in {b"{", b"["} or (head.strip() == b"" and head):
            yield from _json(rest)
        else:
            yield from _protobuf(rest.read())
    except UndecodableError as error:
        raise UsageError(f"{name} could not be read: {error.text}. Allowed: {KINDS}.") from error


class _Prefixed:
    """A stream with the bytes already taken from it put back in front."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head = head
        self._stream = stream

    def read(self) -> bytes:
        head, self._head = self._head, b""
        return head + self._stream.read()

    def lines(self) -> Iterator[bytes]:
        head, self._head = self._head, b""
        first, *others = (head + self._stream.readline()).splitlines(keepends=True) or [b""]
        yield first
        yield from others
        yield from self._stream


def _json(rest: _Prefixed) -> Iterator[SpanBatch]:
    lines = rest.lines()
    first = next((line for line in lines if line.strip()), b"")
    value = _loaded(first)
    if otlp_json.is_request(value):
        yield otlp_json.decode(first, limits=FROM_FILE)
        for line in lines:
            if line.strip():
                yield _line(line)
        return
    whole = first + b"".join(lines)
    value = _loaded(whole) if value is None else value
    if otlp_json.is_request(value):  # one request, printed over many lines
        yield otlp_json.decode(whole, limits=FROM_FILE)
    elif jaeger.is_answer(value):
        yield jaeger.decode(whole)
    else:
        raise UndecodableError("it is JSON of neither OTLP nor Jaeger" if value is not None else "it looks like JSON and is not")


def _loaded(text: bytes) -> object:
    """Parsed JSON; None if it is none."""
    try:
        return json.loads(text.decode(errors="surrogateescape"))
    except (ValueError, RecursionError):
        return None


def _line(line: bytes) -> SpanBatch:
    try:
        return otlp_json.decode(line, limits=FROM_FILE)
    except UndecodableError:
        return SpanBatch(spans=SpanTable.empty(), wire=WireRows.concatenate([]), rejected={"malformed_line": 1})


def _protobuf(body: bytes) -> Iterator[SpanBatch]:
    if not body:
        raise UndecodableError("it is empty")
    otlp.check(body)
    for part in otlp.split(body):
        yield otlp.decode(part, limits=FROM_FILE)
