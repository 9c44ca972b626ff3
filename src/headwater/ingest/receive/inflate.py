"""Request bodies as they came over the wire → bytes, never more than allowed: a bomb is stopped at the limit, not after it went off."""

import zlib
from typing import Final

import zstandard

from headwater.ingest.limits import Limits, OverLimitError, check_size
from headwater.model.errors import UndecodableError

ENCODINGS: Final = ("identity", "gzip", "zstd")
_GZIP_WBITS: Final = 31
# One zstd block of a few bytes may stand for 128 KiB, and its decoder takes no output limit, so it is fed this little at a time.
_ZSTD_FEED: Final = 64
_ZSTD_WINDOW: Final = 8 << 20


def inflate(encoding: str, data: bytes, limits: Limits) -> bytes:
    """The body. OverLimitError as soon as it exceeds limits.body_bytes; UndecodableError if it is not what `encoding` says or ends early."""
    if encoding in {"", "identity"}:
        check_size(len(data), limits)
        return data
    try:
        return _gunzip(data, limits) if encoding == "gzip" else _unzstd(data, limits)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise UndecodableError(f"the body is not whole {encoding} ({error}); nothing of it was taken") from error


def _gunzip(data: bytes, limits: Limits) -> bytes:
    out = bytearray()
    while data:
        member = zlib.decompressobj(_GZIP_WBITS)
        out += member.decompress(data, limits.body_bytes + 1 - len(out))
        _check(out, limits)
        if not member.eof:
            raise EOFError("it ends early")
        data = member.unused_data
    return bytes(out)


def _unzstd(data: bytes, limits: Limits) -> bytes:
    out = bytearray()
    at = 0
    while at < len(data):
        frame = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        while not frame.eof:
            if at >= len(data):
                raise EOFError("it ends early")
            out += frame.decompress(data[at : at + _ZSTD_FEED])
            at += _ZSTD_FEED
            _check(out, limits)
        at = min(at, len(data)) - len(frame.unused_data)
    return bytes(out)


def _check(out: bytearray, limits: Limits) -> None:
    if len(out) > limits.body_bytes:
        raise OverLimitError(f"the body inflates to more than {limits.body_bytes} bytes; send smaller batches")
