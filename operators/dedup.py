"""Dedup: a message id is taken once per person.

Ids are kept as 64-bit hashes in two generations, so that both age and number are bounded: an id is remembered for at least
12 hours of log time, unless the person sends more than 64 messages in that time, and never among more than 128 ids.
A collision of hashes would drop a good event: about one in 10^17 for a person's 128 ids.
"""

from typing import Final

import xxhash

from state.clock import HOUR
from state.people import Seen

GENERATION: Final = 12 * HOUR
CAPACITY: Final = 64


def is_repeat(seen: Seen, message_id: str, now: int) -> bool:
    """Tell whether the message was seen before, and remember it."""
    mark = xxhash.xxh3_64_intdigest(message_id.encode(errors="surrogatepass"))
    if mark in seen.recent or mark in seen.older:
        return True
    if len(seen.recent) >= CAPACITY or now - seen.since > GENERATION:
        seen.older = seen.recent if now - seen.since <= 2 * GENERATION else []
        seen.recent = []
        seen.since = now
    seen.recent.append(mark)
    return False
