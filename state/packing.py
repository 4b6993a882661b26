"""How a person becomes bytes: plain while they were about lately, compressed with a dictionary of the shard's own once not.

Before a person's bytes stand twelve of a head: whether they are a visitor, by which dictionary they are compressed (0: plain),
the quarter of an hour in which they were last touched, and when something is next due for them (0: nothing is). So a shard
knows who is cold, and whom to wake, without unpacking anybody and without a table of its own.
"""

import struct
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

import msgspec
from zstandard import ZstdCompressionDict, ZstdCompressor, ZstdDecompressor, ZstdError, train_dictionary

from state.clock import MINUTE
from state.masking import masked
from state.people import Person, User

COLD_AFTER: Final = 30 * MINUTE
"""Who was not about for longer is compressed: by then a visit is over, and most do not come back the same day."""

DICTIONARY_BYTES: Final = 8192
SAMPLES: Final = 200
MOST_DICTIONARIES: Final = 5

QUARTER: Final = 15 * MINUTE
_LEVEL: Final = 1
_LARGEST_SAMPLE: Final = 8192
_HEAD: Final = struct.Struct(">IQ")
HEAD_BYTES: Final = _HEAD.size
_head: Final = _HEAD.pack
_read: Final = _HEAD.unpack_from
_encode: Final = msgspec.msgpack.Encoder().encode
_person: Final[msgspec.msgpack.Decoder[Person]] = msgspec.msgpack.Decoder(Person)


class Packing:
    """Packs and unpacks the people of one shard.

    A dictionary is what many people have in common: the names of campaigns and products, the shape of a record. It holds
    nothing that names a person, and is kept for good, since people who come back seldom were packed with it.
    """

    def __init__(self) -> None:
        self.dictionaries: list[bytes] = []
        self._compressors: list[ZstdCompressor] = []
        self._decompressors: list[ZstdDecompressor] = []
        self._wanted_at = SAMPLES

    def plain(self, person: Person, due: int) -> bytes:
        """Pack a person who is about, and when something is next due for them."""
        quarter = person.touched // QUARTER
        return _head(quarter if type(person) is User else 1 << 24 | quarter, due) + _encode(person)

    def unpack(self, packed: bytes) -> Person:
        """Unpack a person, however they were packed."""
        return _person.decode(self._body(packed))

    def _body(self, packed: bytes) -> bytes:
        dictionary, body = packed[0] >> 1, packed[HEAD_BYTES:]
        return self._decompressors[dictionary - 1].decompress(body) if dictionary else body

    def cold_before(self, now: int) -> bytes:
        """Say up to where bytes 1 to 4 of plain people are those of whom to compress at log time `now`: none, unlearned."""
        return (max(0, now - COLD_AFTER) // QUARTER).to_bytes(3, "big") if self.dictionaries else b""

    def compressed(self, plain: bytes) -> bytes:
        """Compress a plainly packed person with the newest dictionary."""
        marker = len(self._compressors) << 1 | plain[0]
        compressed = self._compressors[-1].compress(plain[HEAD_BYTES:])
        return marker.to_bytes(1, "big") + plain[1:HEAD_BYTES] + compressed

    def samples(self, packed: dict[str, bytes]) -> list[bytes]:
        """Take people to learn a dictionary from, at two hundred, and whenever they are eight times as many; else nobody."""
        if len(self.dictionaries) >= MOST_DICTIONARIES or len(packed) < self._wanted_at:
            return []
        self._wanted_at = 8 * len(packed)
        return [self._body(each) for each in islice(packed.values(), 0, None, len(packed) // SAMPLES)]

    def add(self, dictionary: bytes) -> None:
        """Take in a dictionary that was learned before."""
        known = ZstdCompressionDict(dictionary)
        known.precompute_compress(level=_LEVEL)
        self.dictionaries.append(dictionary)
        self._wanted_at = max(self._wanted_at, SAMPLES * 8 ** len(self.dictionaries))
        self._compressors.append(ZstdCompressor(level=_LEVEL, dict_data=known, write_dict_id=False))
        self._decompressors.append(ZstdDecompressor(dict_data=known))


def learned(samples: list[bytes], breathe: Callable[[], None] = lambda: None) -> bytes | None:
    """Make a dictionary out of some people, masked; None where they have too little in common.

    Takes some 150 ms; `breathe` is called after every millisecond or so. Who is very large is left out.
    """
    people = [msgspec.msgpack.decode(body) for body in samples if len(body) <= _LARGEST_SAMPLE]
    impersonal: list[bytes | bytearray | memoryview] = [
        _encode(person) for person in masked(((_owner(person), person) for person in people), breathe)
    ]
    try:
        return train_dictionary(DICTIONARY_BYTES, impersonal, level=_LEVEL).as_bytes()
    except ZstdError:
        return None


def _owner(stored: list[Any]) -> str:
    """Say whose a stored person is: a visitor that is known to be a user is theirs."""
    tag, _, id_, _, user_id, *_ = stored
    return str(user_id if tag == 1 and user_id else id_)


def touched(head: bytes) -> int:
    """Say when whoever has this head was last touched, in log time, rounded down to a quarter of an hour."""
    return int.from_bytes(head[1:4], "big") * QUARTER


def due(head: bytes) -> int:
    """Say when something is next due for whoever has this head; 0 where nothing is."""
    return int(_read(head)[1])


def is_visitor(head: bytes) -> bool:
    """Tell a visitor's head from a user's."""
    return bool(head[0] & 1)
