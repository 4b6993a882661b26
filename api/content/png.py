"""PNG files put together from strips that were compressed before, so that a new picture of known rows costs no compression.

A strip is a full-width band of pixels, deflated by itself and ended on a byte boundary (zlib's full flush), so strips can
stand one after another in one stream. Checksums are combined, not computed again. Format: PNG (ISO/IEC 15948), zlib (RFC 1950).
"""

import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from PIL import Image

INK: Final = (0x1C, 0x1F, 0x23)
ACCENT: Final = (0xB3, 0x26, 0x1E)
LEVELS: Final = 32
"""Pixels are palette indices: 32 from paper to ink, then 32 from paper to accent. More would not be seen, and cost bytes."""

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_ZLIB_HEAD: Final = b"\x78\x01"
_LAST_BLOCK: Final = b"\x03\x00"
_MODULUS: Final = 65_521
_COVERAGE: Final = [value >> 3 for value in range(256)]
_ACCENTED: Final = [LEVELS + (value >> 3) for value in range(256)]
_PRESENT: Final = [255 if value >> 3 else 0 for value in range(256)]


class Strip(NamedTuple):
    """A band: its rows, its deflated bytes, and the checksum and length of what was deflated."""

    height: int
    deflated: bytes
    checksum: int
    length: int


def strip(ink: Image.Image, accent: Image.Image | None = None) -> Strip:
    """Compress a band, given how much ink (mode L) each pixel has, and how much accent, which covers ink."""
    pixels = ink.point(_COVERAGE)
    if accent is not None:
        pixels.paste(accent.point(_ACCENTED), mask=accent.point(_PRESENT))
    width, height = pixels.size
    data = pixels.tobytes()
    rows = b"".join([b"\0" + data[start : start + width] for start in range(0, len(data), width)])
    # Level 6 saves a quarter of the bytes, and takes three times as long, while an email waits.
    deflater = zlib.compressobj(2, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = deflater.compress(rows) + deflater.flush(zlib.Z_FULL_FLUSH)
    return Strip(height, deflated, zlib.adler32(rows), len(rows))


def assembled(width: int, strips: Sequence[Strip]) -> bytes:
    """Write a PNG of strips, from top to bottom, all of this width."""
    checksum = 1
    for each in strips:
        checksum = _joined(checksum, each.checksum, each.length)
    body = [_ZLIB_HEAD, *(each.deflated for each in strips), _LAST_BLOCK, checksum.to_bytes(4, "big")]
    head = _head(width, sum(each.height for each in strips))
    return head + _chunk(b"IDAT", b"".join(body)) + _chunk(b"IEND", b"")


def _joined(first: int, second: int, length: int) -> int:
    """Combine the Adler-32 of two texts, the second of which has this length."""
    low, high = first & 0xFFFF, first >> 16
    low_2, high_2 = second & 0xFFFF, second >> 16
    return (high + high_2 + length * (low - 1)) % _MODULUS << 16 | (low + low_2 - 1) % _MODULUS


@lru_cache(maxsize=1024)
def _head(width: int, height: int) -> bytes:
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x03\0\0\0"
    palette = b"".join(
        bytes(255 - (255 - part) * level // (LEVELS - 1) for part in colour)
        for colour in (INK, ACCENT)
        for level in range(LEVELS)
    )
    return _SIGNATURE + _chunk(b"IHDR", size) + _chunk(b"PLTE", palette)


def _chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(data, zlib.crc32(name)).to_bytes(4, "big")
