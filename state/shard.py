"""A shard: everything known of one partition's people, what is due for them, and how that becomes bytes.

People are packed bytes until a record or a timer touches them, and are packed again at the next snapshot: the live state and
the restored one are the same by construction, and a person who is not there costs no decoding.

A snapshot is what changed since the last one, for a journal to add, which is written anew now and then (see `state.rounds`).
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from state import upcasts
from state.packing import Packing, due, is_visitor, touched
from state.people import Person, Visitor
from state.retention import NEVER, Calendar
from state.rounds import Rounds
from state.snapshots import Changes, Chunk, Snapshot
from state.timers import Timers
from state.wire import Model

MOST_LIVE: Final = 20_000
"""More people than these are not kept unpacked in a process: each takes five kilobytes, and 15 us of a snapshot's pause."""

MOST_LIVE_AT_END: Final = 200
"""So many are kept where a process has read its log to the end: then a pause is what everybody waits for."""

_PACKED_AT_ONCE: Final = 64
"""So many people are packed after a batch beyond those who came with it: 1 ms."""

_encode: Final = msgspec.msgpack.Encoder().encode
_snapshot: Final = msgspec.msgpack.Decoder(Snapshot)
_chunk: Final = msgspec.msgpack.Decoder(Chunk)


class Shard:
    """The state of the fold over one partition.

    `log_time` is the append time of the last record. `live` holds the people who were touched lately, for a look that costs no
    call, and `wakes` says of each of them with something due when to look at them next: at the latest at that time, maybe in
    vain; `find` and `due` know all. Up to `idle_until` certainly nothing is due; something is for `timers` people. `room` is
    for so many people who are live, `room_at_end` where the log has been read to its end.
    """

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.log_time = 0
        self.campaigns: dict[str, tuple[str, bytes]] = {}
        self.models: dict[str, Model] = {}
        self.carts_open = 0
        self.live: dict[str, Person] = {}
        self.share_room(1)
        self.wakes: dict[str, int] = {}
        self._packed: dict[str, bytes] = {}
        self._packing = Packing()
        self._has_new_dictionary = False
        self._timers = Timers(self.due)
        self.timers = 0
        self._calendar = Calendar()
        self.idle_until = NEVER
        self._rounds = Rounds()
        self._settled = 0
        self._queue: deque[tuple[str, int]] = deque()
        self._gone: list[str] = []

    def __len__(self) -> int:
        return len(self._packed) + len(self.live)

    def share_room(self, shards: int) -> None:
        """Share the room of a process with its other shards; with this one they are so many."""
        self.room, self.room_at_end = MOST_LIVE // shards, MOST_LIVE_AT_END // shards

    def find(self, key: str) -> Person | None:
        """Look a person up, unpacking them if they were not touched since the last snapshot."""
        person = self.live.get(key)
        if person is None:
            packed = self._packed.pop(key, None)
            if packed is None:
                return None
            person = self.live[key] = self._packing.unpack(packed)
            self._queue.append((key, self.log_time))
            if at := due(packed):
                self.wakes[key] = at
        return person

    def due(self, key: str) -> int:
        """Say when to look at a person next; 0 where nothing is due for them. Unpacks nobody."""
        at = self.wakes.get(key)
        if at is None:
            packed = self._packed.get(key)
            return 0 if packed is None else due(packed)
        return at

    def last_touched(self, key: str) -> int:
        """Say when a person was last touched, at most a quarter of an hour too early; 0 for nobody. Unpacks nobody."""
        person = self.live.get(key)
        if person is not None:
            return person.touched
        packed = self._packed.get(key)
        return 0 if packed is None else touched(packed)

    def is_visitor(self, key: str) -> bool:
        """Tell a visitor from a user, without unpacking them. Raises KeyError for nobody."""
        person = self.live.get(key)
        return is_visitor(self._packed[key]) if person is None else isinstance(person, Visitor)

    def add(self, key: str, person: Person, look_again: int) -> None:
        """Remember a person, and look on the day of `look_again` whether they may be forgotten."""
        self.live[key] = person
        self._queue.append((key, self.log_time))
        self.look_again(key, look_again)

    def look_again(self, key: str, at: int) -> None:
        """Look at a person again on the first midnight after `at`."""
        self._calendar.enter(at, (key,))
        self.idle_until = min(self.idle_until, self._calendar.next_midnight)

    def fill_calendar(self, user_retention: int, visitor_retention: int) -> None:
        """Enter everybody who is packed, after a restart, on the day on which they may be forgotten unless they come again."""
        by_head: defaultdict[bytes, list[str]] = defaultdict(list)
        for key, packed in self._packed.items():
            by_head[packed[:4]].append(key)
        for head, keys in by_head.items():
            self._calendar.enter(touched(head) + (visitor_retention if is_visitor(head) else user_retention), keys)
        self.idle_until = min(self.idle_until, self._calendar.next_midnight)

    def forget(self, key: str) -> None:
        """Forget a person and what was due for them; their place in the calendar lapses by itself."""
        self.timers -= bool(self.due(key))
        self.live.pop(key, None)
        self._packed.pop(key, None)
        self.wakes.pop(key, None)
        self._rounds.forget(key)
        self._gone.append(key)

    def erase(self, key: str) -> None:
        """Forget a person and their place in the calendar, which takes a look at all of it."""
        self.forget(key)
        self._calendar.strike(key)

    def wake(self, key: str, at: int | None) -> None:
        """Say when something is next due for a person who is live; None when nothing is."""
        known = self.wakes.get(key)
        if at is None:
            if known is not None:
                del self.wakes[key]
                self.timers -= 1
        elif known is None or at < known:
            self.timers += known is None
            self.wakes[key] = at
            idle_until = self._timers.add(key, at)
            if idle_until < self.idle_until:
                self.idle_until = idle_until

    def due_before(self, horizon: int) -> Iterator[tuple[int, str | None]]:
        """Yield what is due before `horizon`, in order of time, then key: (time, person), or (midnight, None).

        A person is yielded at the time that was noted first, and must be woken anew; a later time set meanwhile makes that
        an empty look. Anything added while iterating takes its turn.
        """
        while True:
            midnight = self._calendar.next_midnight
            first = self._timers.take(min(horizon, midnight))
            if first is not None:
                self.find(first[1])
                del self.wakes[first[1]]
                self.timers -= 1
                yield first
            elif midnight < horizon:
                yield midnight, None
            else:
                self.idle_until = min(self._timers.idle_until, midnight)
                return

    def keys_of_the_day(self) -> list[str]:
        """Take the people of a midnight: those to look at again, in order of their keys."""
        return self._calendar.take()

    def settle(self, *, is_at_end: bool) -> bytes | None:
        """Do, after a batch, a share of what a snapshot would have to do at once; return a chunk for the journal, or None.

        Go on with the round, by one person for each who was touched, who is another entry of the journal. Pack people beyond
        those whom there is room for. Whoever is packed can be written: a chunk counts from the next snapshot on, so it need
        not be on the disk before.
        """
        came = len(self.live) - self._settled
        self._rounds.go(came, self._packed, self._packing, self.log_time)
        beyond = len(self.live) - (self.room_at_end if is_at_end else self.room)
        self._pack_early(min(beyond, came + _PACKED_AT_ONCE))
        self._settled = len(self.live)
        return self._chunk(self._rounds.take()) if self._rounds.has_many else None

    def _pack_early(self, people: int) -> None:
        """Pack so many of those who came first; who came again since takes another turn."""
        queue, live, gone = self._queue, self.live, dict[str, None]()
        for _ in range(len(queue)):
            if len(gone) >= people:
                break
            key, touched = queue.popleft()
            person = live.get(key)
            if person is not None and person.touched > touched:
                queue.append((key, person.touched))
            elif person is not None:
                gone[key] = None
        self._rounds.rewrite(self._pack(gone))

    def changes(self) -> Changes:
        """Write down what changed since the last time and was not written early, and pack everybody."""
        rounds = self._rounds
        begins_round = rounds.begin(self._packed, len(self))
        self._has_new_dictionary |= begins_round
        rounds.go(rounds.share(len(self)), self._packed, self._packing, self.log_time)
        people = rounds.take()
        people |= self._pack_all()
        self._settled = 0
        samples = self._packing.samples(self._packed) if begins_round else []
        is_empty = not (people or self._gone or self._has_new_dictionary)
        chunk = None if is_empty else self._chunk(people)
        head = _encode(self._head(Chunk()))
        return Changes(self.partition, head, chunk, begins_round, rounds.snapshotted(), samples)

    def learn(self, dictionary: bytes) -> None:
        """Take in what was learned from the samples of changes: from now on cold people are compressed with it."""
        self._packing.add(dictionary)
        self._has_new_dictionary = True

    def _chunk(self, people: dict[str, bytes]) -> bytes:
        """Write down some people, and who is gone since the last chunk; dictionaries are in before anybody who needs them."""
        chunk = _encode(Chunk(people, self._gone, self._packing.dictionaries if self._has_new_dictionary else []))
        self._gone, self._has_new_dictionary = [], False
        self._rounds.count(len(people))
        return chunk

    def snapshot(self) -> bytes:
        """Write the whole shard down, and pack everybody: for whoever keeps no journal, which would be behind by this."""
        self._pack_all()
        self._rounds.is_journaled = False
        return _encode(self._head(Chunk(self._packed, [], self._packing.dictionaries)))

    @classmethod
    def restore(cls, data: bytes, chunks: Iterable[bytes] = ()) -> "Shard":
        """Read a snapshot of this or any earlier version, and the chunks of its journal in their order.

        Raises upcasts.UnknownVersion for a snapshot of a later version.
        """
        saved = _snapshot.decode(upcasts.to_current(data))
        shard = cls(saved.partition)
        shard.log_time = saved.log_time
        shard.campaigns, shard.models, shard.carts_open = saved.campaigns, saved.models, saved.carts_open
        shard._calendar.looked_day = saved.looked_day
        shard._load(saved.chunk)
        is_whole = bool(saved.chunk.people)
        for chunk in chunks:
            shard._load(_chunk.decode(chunk))
        shard._rounds.resume(len(shard), is_journaled=not is_whole)
        shard.timers = shard._timers.fill(shard._packed)
        shard.idle_until = shard._timers.idle_until
        return shard

    def _head(self, chunk: Chunk) -> Snapshot:
        return Snapshot(
            upcasts.VERSION,
            self.partition,
            self.log_time,
            self.campaigns,
            self.models,
            self.carts_open,
            self._calendar.looked_day,
            chunk,
        )

    def _pack_all(self) -> dict[str, bytes]:
        self._queue.clear()
        return self._pack(list(self.live))

    def _pack(self, keys: Iterable[str]) -> dict[str, bytes]:
        plain, take, wake = self._packing.plain, self.live.pop, self.wakes.pop
        packed = {key: plain(take(key), wake(key, 0)) for key in keys}
        self._packed |= packed
        return packed

    def _load(self, chunk: Chunk) -> None:
        for dictionary in chunk.dictionaries[len(self._packing.dictionaries) :]:
            self._packing.add(dictionary)
        for key in chunk.gone:
            self._packed.pop(key, None)
        self._packed |= chunk.people
        self._rounds.count(len(chunk.people))
