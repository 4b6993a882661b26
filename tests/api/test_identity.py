"""Who is who, through the log alone: logins, devices, logouts, aliases, shared addresses, deletions.

Partitions are folded one by one, and what is fed back is appended when the story says so, since in life it may come late.
"""

from collections import deque
from typing import Any

from operators.fold import Fold, Limits
from state.clock import DAY, SECOND
from state.people import User, user_key
from state.records import Batch, Record, partition_of
from state.shard import Shard
from state.wire import Delete, encoder
from tests.shopping import CART, START, added_to_cart, in_force, sent, tracked

PARTITIONS = 3


class Log:
    """A log of several partitions and the shards that fold them; `wait_for_feedback` lets feedback come late."""

    def __init__(self) -> None:
        self.folds = [Fold(Shard(partition), Limits()) for partition in range(PARTITIONS)]
        self.now = START
        self.feedback: deque[tuple[str, bytes]] = deque()
        self.profiles: dict[str, dict[str, Any]] = {}
        self.triggers: list[bytes] = []
        for partition in range(PARTITIONS):
            self._fold(partition, in_force(CART))

    def say(self, key: str, value: bytes, *, settle: bool = True) -> None:
        """Append a record a second later, and what comes of it."""
        self.now += SECOND
        self._fold(partition_of(key, PARTITIONS), value)
        if settle:
            self.settle()

    def settle(self) -> None:
        """Let all feedback arrive."""
        for _ in range(100):
            if not self.feedback:
                return
            key, value = self.feedback.popleft()
            self._fold(partition_of(key, PARTITIONS), value)
        raise AssertionError("records are fed back for ever")

    def wait(self, duration: int) -> None:
        """Let time pass on an idle log."""
        self.now += duration
        for partition, fold in enumerate(self.folds):
            self._keep(fold.apply(Batch(partition, [], self.now)))
        self.settle()

    def person(self, user_id: str) -> User | None:
        """Look somebody up."""
        found = self.folds[partition_of(user_id, PARTITIONS)].shard.find(user_key("default", user_id))
        assert found is None or isinstance(found, User)
        return found

    def cart(self, user_id: str) -> set[str]:
        """What is in somebody's carts."""
        user = self.person(user_id)
        return {key for cart in user.carts.open.values() for key in cart.lines} if user else set()

    def _fold(self, partition: int, value: bytes) -> None:
        self._keep(
            self.folds[partition].apply(Batch(partition, [Record(f"{self.now}-{id(value)}", self.now, value)], 0))
        )

    def _keep(self, out: Any) -> None:
        self.feedback += [(each.key, encoder.encode(each.record)) for each in out.feedback]
        self.triggers += [each.value for each in out.triggers]
        for update in out.profiles:
            self.profiles.setdefault(update.user_id, {}).update(update.fields or {})

    def visit(self, visitor: str, product: str, user: str | None = None) -> None:
        """Put a product into the cart."""
        value = added_to_cart(
            self.now, product, user=user, visitor=visitor, message_id=f"{visitor}-{product}-{self.now}"
        )
        self.say(user or visitor, value)

    def login(self, visitor: str, user: str, *, settle: bool = True, **traits: Any) -> None:
        """Identify."""
        self.say(user, sent("identify", self.now, user=user, visitor=visitor, traits=traits), settle=settle)


def test_what_was_done_before_the_login_is_the_users() -> None:
    """In its order and at its own times, also when the two ids are in different partitions."""
    log = Log()
    log.visit("phone", "shoes")
    log.visit("phone", "socks")
    log.login("phone", "ann")
    assert log.cart("ann") == {"shoes", "socks"}
    log.visit("phone", "hat")
    assert log.cart("ann") == {"shoes", "socks", "hat"}, "an event that the SDK sent without the user id yet"


def test_two_devices_of_one_person_are_one_cart() -> None:
    """A phone in the morning, a laptop at night."""
    log = Log()
    log.visit("phone", "shoes")
    log.visit("laptop", "socks")
    log.login("phone", "ann")
    log.login("laptop", "ann")
    log.visit("phone", "hat")
    assert log.cart("ann") == {"shoes", "socks", "hat"}


def test_the_next_user_of_a_device_does_not_inherit_the_firsts_cart() -> None:
    """A family's tablet, where nobody's logout resets the visitor id."""
    log = Log()
    log.visit("tablet", "shoes")
    log.login("tablet", "ann")
    log.visit("tablet", "socks", user="ann")
    log.login("tablet", "ben")
    log.visit("tablet", "hat", user="ben")
    log.visit("tablet", "scarf")
    assert log.cart("ann") == {"shoes", "socks"}
    assert log.cart("ben") == {"hat", "scarf"}
    log.login("tablet", "ann")
    log.visit("tablet", "gloves")
    assert log.cart("ann") == {"shoes", "socks", "gloves"}
    assert log.cart("ben") == {"hat", "scarf"}


def test_after_a_logout_that_resets_the_visitor_nothing_carries_over() -> None:
    """As SDKs do it."""
    log = Log()
    log.visit("before", "shoes")
    log.login("before", "ann")
    log.visit("after", "hat")
    assert log.cart("ann") == {"shoes"}
    log.login("after", "ben")
    assert log.cart("ben") == {"hat"}
    assert log.cart("ann") == {"shoes"}


def test_an_alias_brings_a_visitors_history_to_the_user() -> None:
    """Once, and for what comes later too."""
    log = Log()
    log.visit("phone", "shoes")
    log.say("ann", sent("alias", log.now, user="ann", previousId="phone"))
    log.say("ann", sent("alias", log.now, user="ann", previousId="phone", message_id="again"))
    log.visit("phone", "socks")
    assert log.cart("ann") == {"shoes", "socks"}


def test_a_late_forward_does_not_take_a_device_back_from_who_is_on_it_now() -> None:
    """Ann's alias brings what waited to her partition, late. By then ben has logged in on the device.

    Told by the forwarded event, whose device the alias never listed, ann's shard linked the device to her once more; after
    ben's link, so that his next anonymous events became hers.
    """
    log = Log()
    log.visit("tablet", "shoes")
    log.say("ann", sent("alias", log.now, user="ann", previousId="tablet"), settle=False)
    key, link = log.feedback.popleft()
    log.say(key, link, settle=False)  # the forward is on its way
    late = list(log.feedback)
    log.feedback.clear()
    log.login("tablet", "ben")
    log.feedback.extend(late)
    log.settle()
    log.visit("tablet", "hat")
    assert log.cart("ann") == {"shoes"}
    assert log.cart("ben") == {"hat"}


def test_two_ids_aliased_to_each_other_come_to_rest() -> None:
    """Records must not be fed back and forth for ever."""
    log = Log()
    log.say("ann", sent("alias", log.now, user="ann", previousId="ben"))
    log.say("ben", sent("alias", log.now, user="ben", previousId="ann"))
    log.visit("ann", "shoes")
    log.visit("ben", "socks")
    assert log.cart("ben") == {"shoes"}
    assert log.cart("ann") == {"socks"}


def test_two_people_with_one_address_stay_two_people() -> None:
    """A couple shares a mailbox; each has a cart, and each gets an email of their own cart."""
    log = Log()
    log.login("phone", "ann", email="both@example.com")
    log.login("laptop", "ben", email="both@example.com")
    log.visit("phone", "shoes", user="ann")
    log.visit("laptop", "hat", user="ben")
    log.wait(DAY)
    assert [log.cart("ann"), log.cart("ben")] == [{"shoes"}, {"hat"}]
    assert len(log.triggers) == 2
    assert all(b'"email":"both@example.com"' in trigger for trigger in log.triggers)


def test_an_id_that_is_a_visitor_here_and_a_user_there_is_not_mixed_up() -> None:
    """A shop that sets the user id to the visitor id."""
    log = Log()
    log.visit("same", "shoes")
    log.login("same", "same")
    log.visit("same", "hat", user="same")
    assert log.cart("same") == {"hat"}


def test_a_deleted_persons_device_does_not_bring_them_back() -> None:
    """The device was linked to the user; what a visitor does on it later is the visitor's, until somebody logs in."""
    log = Log()
    log.visit("phone", "shoes")
    log.login("phone", "ann")
    log.say("ann", encoder.encode(Delete(user_id="ann")))
    assert log.person("ann") is None
    log.visit("phone", "hat")
    assert log.person("ann") is None
    log.login("phone", "ben")
    assert log.cart("ben") == {"hat"}


def test_nothing_of_a_deleted_person_is_left_in_the_shard() -> None:
    """Neither their id: it may be an address."""
    log = Log()
    log.login("phone", "ann@example.com")
    log.visit("phone", "shoes", user="ann@example.com")
    log.say("ann@example.com", encoder.encode(Delete(user_id="ann@example.com")))
    for fold in log.folds:
        assert b"ann@example.com" not in fold.shard.snapshot()


def test_an_email_that_is_decided_and_not_delivered_is_taken_back_by_a_deletion() -> None:
    """The trigger stands in its topic until the provider has it; a cancel follows it, without the address."""
    log = Log()
    log.login("phone", "ann", email="ann@example.com")
    log.visit("phone", "shoes", user="ann")
    log.wait(2 * 3600 * SECOND)
    assert len(log.triggers) == 1
    log.say("ann", encoder.encode(Delete(user_id="ann")))
    assert len(log.triggers) == 2
    assert b'"kind":"cancel"' in log.triggers[1]
    assert b"ann@example.com" not in log.triggers[1]


def test_a_login_whose_link_comes_late_loses_nothing() -> None:
    """The visitor goes on between the login and the arrival of its link: those events wait, then follow in order."""
    log = Log()
    log.visit("phone", "shoes")
    log.login("phone", "ann", settle=False)
    log.say("phone", tracked("Product Added", log.now, user=None, visitor="phone", product_id="socks"), settle=False)
    assert log.cart("ann") == set()
    log.settle()
    assert log.cart("ann") == {"shoes", "socks"}
