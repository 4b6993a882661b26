"""Forgetting: who was away for as long as anybody is kept."""

from state.people import Person, User
from state.shard import Shard


def retired(shard: Shard, key: str, now: int, user_retention: int, visitor_retention: int) -> Person | None:
    """Forget a person at a midnight of the calendar, and return them; or look at them again later.

    Nobody is forgotten for whom something is still due.
    """
    person = shard.find(key)
    if person is None:
        return None
    keep_until = person.touched + (user_retention if isinstance(person, User) else visitor_retention)
    if keep_until >= now or shard.is_due(key):
        shard.look_again(key, max(keep_until, now))
        return None
    if isinstance(person, User):
        shard.carts_open -= len(person.carts.open)
    shard.forget(key)
    return person
