"""Forgetting: who was away for as long as anybody is kept."""

from state.people import Person, User
from state.shard import Shard


def retired(shard: Shard, key: str, now: int, user_retention: int, visitor_retention: int) -> Person | None:
    """Forget a person at a midnight of the calendar, and return them; or look at them again later.

    Nobody is forgotten for whom something is still due. Only who is forgotten is unpacked: at a midnight it may be the turn
    of everybody who first came on one day.
    """
    last = shard.last_touched(key)
    if not last:
        return None
    retention = visitor_retention if shard.is_visitor(key) else user_retention
    person = None if last + retention >= now or shard.due(key) else shard.find(key)
    if person is None or person.touched + retention >= now:
        shard.look_again(key, max(last + retention, now))
        return None
    if isinstance(person, User):
        shard.carts_open -= len(person.carts.open)
    shard.forget(key)
    return person
