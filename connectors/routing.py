"""Which worker a key goes to, so that a partition is folded and written where it is read.

Bytewax sends an item to worker `hash(key) % workers`, with Rust's default hash (SipHash-1-3, no secret, a byte 0xff after a
string). The plain numbers 0 to 3 all hash to one of two workers, which then does the whole work and is sent half of it.
"""

from typing import Final

MOST: Final = 64
_MASK: Final = (1 << 64) - 1


def part_names(partitions: int) -> list[str]:
    """Name the partitions so that partition p is opened by worker p % workers: the engine deals them in order of text."""
    return [f"{partition:04}" for partition in range(partitions)]


def routed_keys(partitions: int) -> list[str]:
    """Choose a key for each partition p, so that for every number of workers that divides P it goes to worker p % workers.

    The keys are part of the recovery store: the same P always gives the same. Beyond 64 partitions this holds for worker
    counts that divide the largest divisor of P up to 64.
    """
    modulus = shareable(partitions)
    return [_routed(partition, modulus) for partition in range(partitions)]


def shareable(partitions: int) -> int:
    """Say of which number the count of workers must be a divisor, for partition p to be all at worker p % workers."""
    return next(divisor for divisor in range(min(partitions, MOST), 0, -1) if partitions % divisor == 0)


def _routed(partition: int, modulus: int) -> str:
    number = 0
    while True:
        key = f"{partition}.{number}"
        if _hashed(key.encode() + b"\xff") % modulus == partition % modulus:
            return key
        number += 1


def _hashed(data: bytes) -> int:
    v0, v1, v2, v3 = 0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573
    tail = len(data) - len(data) % 8
    words = [int.from_bytes(data[start : start + 8], "little") for start in range(0, tail, 8)]
    words.append((len(data) & 255) << 56 | int.from_bytes(data[tail:], "little"))
    for word in words:
        v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ word)
        v0 ^= word
    v2 ^= 255
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0 = (v0 + v1) & _MASK
    v2 = (v2 + v3) & _MASK
    v1 = _turned(v1, 13) ^ v0
    v3 = _turned(v3, 16) ^ v2
    v0 = (_turned(v0, 32) + v3) & _MASK
    v2 = (v2 + v1) & _MASK
    return v0, _turned(v1, 17) ^ v2, _turned(v2, 32), _turned(v3, 21) ^ v0


def _turned(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & _MASK
