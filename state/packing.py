"""How a person becomes bytes: plain while they were about lately, compressed with a dictionary of the shard's own once not.

Before a person's bytes stand four of a head: whether they are a visitor, by which dictionary they are compressed (0: plain),
and the quarter of an hour in which they were last touched. So a shard knows who is cold without unpacking anybody.
"""

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec.structs import replace
from zstandard import ZstdCompressionDict, ZstdCompressor, ZstdDecompressor, ZstdError, train_dictionary

from state.clock import MINUTE
from state.commerce import Product
from state.people import Cart, Carts, Cause, Contact, Person, User, Wait, Waits

COLD_AFTER: Final = 30 * MINUTE
"""Who was not about for longer is compressed: by then a visit is over, and most do not come back the same day."""

DICTIONARY_BYTES: Final = 8192
SAMPLES: Final = 1000
MOST_DICTIONARIES: Final = 5

_QUARTER: Final = 15 * MINUTE
_LEVEL: Final = 1
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

    def plain(self, person: Person) -> bytes:
        """Pack a person who is about."""
        kind = 0 if type(person) is User else 1
        return (kind << 24 | person.touched // _QUARTER).to_bytes(4, "big") + _encode(person)

    def unpack(self, packed: bytes) -> Person:
        """Unpack a person, however they were packed."""
        dictionary = packed[0] >> 1
        body = packed[4:]
        return _person.decode(self._decompressors[dictionary - 1].decompress(body) if dictionary else body)

    def cold_before(self, now: int) -> bytes:
        """Say up to where bytes 1 to 4 of plain people are those of whom to compress at log time `now`: none, unlearned."""
        return (max(0, now - COLD_AFTER) // _QUARTER).to_bytes(3, "big") if self.dictionaries else b""

    def compressed(self, plain: bytes) -> bytes:
        """Compress a plainly packed person with the newest dictionary."""
        marker = len(self._compressors) << 1 | plain[0]
        return marker.to_bytes(1, "big") + plain[1:4] + self._compressors[-1].compress(plain[4:])

    def wants_samples(self, people: int) -> bool:
        """Tell whether so many people deserve a new dictionary: at a thousand, and whenever they are eight times as many."""
        known = len(self.dictionaries)
        return known < MOST_DICTIONARIES and people >= SAMPLES * 8**known

    def learn(self, samples: Iterable[bytes]) -> None:
        """Make a dictionary out of some packed people, with what names them left out; takes some 50 ms."""
        impersonal: list[bytes | bytearray | memoryview] = [
            _encode(_unnamed(self.unpack(packed))) for packed in samples
        ]
        try:
            self.add(train_dictionary(DICTIONARY_BYTES, impersonal, level=_LEVEL).as_bytes())
        except ZstdError:  # they have too little in common
            return

    def add(self, dictionary: bytes) -> None:
        """Take in a dictionary that was learned before."""
        known = ZstdCompressionDict(dictionary)
        known.precompute_compress(level=_LEVEL)
        self.dictionaries.append(dictionary)
        self._compressors.append(ZstdCompressor(level=_LEVEL, dict_data=known, write_dict_id=False))
        self._decompressors.append(ZstdDecompressor(dict_data=known))


def touched(head: bytes) -> int:
    """Say when whoever has this head was last touched, in log time, rounded down to a quarter of an hour."""
    return int.from_bytes(head[1:4], "big") * _QUARTER


def is_visitor(head: bytes) -> bool:
    """Tell a visitor's head from a user's."""
    return bool(head[0] & 1)


def _unnamed(person: Person) -> Person:
    """Leave out of a person what is theirs alone, or said by them: only campaigns, products and the record's shape are left."""
    if not isinstance(person, User):
        return replace(person, anonymous_id="", user_id="", waiting=[])
    return replace(
        person,
        user_id="",
        seen=b"",
        visitors=[],
        contact=Contact(),
        carts=Carts({str(n): _plain_cart(cart) for n, cart in enumerate(person.carts.open.values())}),
        waits=Waits([_plain_wait(wait) for wait in person.waits.open]),
        churn=replace(person.churn, pending=[]),
    )


def _plain_cart(cart: Cart) -> Cart:
    return Cart(
        cart.touched, {name: replace(line, url=_page(line.url), variant="") for name, line in cart.lines.items()}
    )


def _plain_wait(wait: Wait) -> Wait:
    items = [Product(product_id=item.product_id, name=item.name, price=item.price) for item in wait.items]
    return replace(wait, subject="", cause=Cause("", 0, ""), properties={}, items=items)


def _page(url: str) -> str:
    """Cut off what a link may say of who follows it."""
    return url.partition("?")[0].partition("#")[0]
