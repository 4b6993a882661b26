"""The docket: what is open, what has ended, and from where whoever goes on must read."""

from itertools import accumulate
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.docket import Docket, Stage
from operators.intake import take_in
from state.clock import HOUR, MINUTE, SECOND
from state.deliveries import Attempt, Deferral, Delivery, Outcome, Status, id_of
from tests.delivery.lettering import NOON, cancel, trigger, written

ANN, BEN, CAT = (trigger(name) for name in ("ann", "ben", "cat"))


def opened(*values: bytes, at: int = NOON) -> Docket:
    """Read entries of a topic; entry n stands at place n."""
    docket = Docket(None, None, NOON)
    for number, value in enumerate(values, 1):
        take_in(docket, value, str(number), at, 0, NOON)
    return docket


def test_a_trigger_waits_for_its_time() -> None:
    """Quiet hours put an email off: its case is open, and due when the trigger says."""
    docket = opened(written(trigger("ann", send_in=HOUR)))
    (case,) = docket
    assert (case.stage, case.due) == (Stage.WAITING, NOON + HOUR)


def test_a_trigger_that_is_read_twice_is_one_case() -> None:
    """Whoever copied a topic brings everything again."""
    docket = opened(written(ANN), written(ANN))
    assert docket.open == 1
    docket.end(ANN.trigger_id, "9")
    assert (docket.open, docket.resumes[0]) == (0, "2")
    assert take_in(docket, written(ANN), "3", NOON, 0, NOON) == (None, [])


def test_reading_goes_on_after_the_last_trigger_before_which_all_have_ended() -> None:
    """Ben's waits for a dead provider; cat's, which came later, has gone out. Both are found again by whoever resumes."""
    docket = opened(written(ANN), written(BEN), written(CAT))
    docket.end(ANN.trigger_id, "9")
    docket.end(CAT.trigger_id, "10")
    assert docket.resumes[0] == "1"
    docket.end(BEN.trigger_id, "11")
    assert docket.resumes[0] == "3"


def test_a_cancel_in_time_ends_both_and_one_that_is_late_itself_alone() -> None:
    """Ben's email is out; ann's is not."""
    docket = opened(written(ANN), written(BEN))
    docket.end(BEN.trigger_id, "9")
    _, in_time = take_in(docket, written(cancel(ANN)), "3", NOON, 0, NOON)
    _, late = take_in(docket, written(cancel(BEN)), "4", NOON, 0, NOON)
    assert [(each.trigger_id, each.status) for each in (*in_time, *late)] == [
        (ANN.trigger_id, Status.CANCELLED),
        (cancel(ANN).trigger_id, Status.ACCEPTED),
        (cancel(BEN).trigger_id, Status.REJECTED),
    ]


def test_a_cancel_during_a_call_has_its_outcome_when_the_call_returns() -> None:
    """The provider may have the email already."""
    docket = opened(written(ANN))
    (case,) = docket
    case.stage = Stage.UNDER_WAY
    assert take_in(docket, written(cancel(ANN)), "2", NOON, 0, NOON) == (None, [])
    assert case.cancelled_by == cancel(ANN).trigger_id
    assert docket.resumes[0] is None


def test_what_is_no_trigger_is_rejected_once_with_its_reason() -> None:
    """Somebody wrote to the topic by hand; delivery goes on, and does not reject it again after a restart."""
    docket = Docket(None, None, NOON)
    case, (said,) = take_in(docket, b'{"trigger_id": 5}', "1", NOON, 3, NOON)
    assert case is None
    assert (said.trigger_id, said.status) == ("3:1", Status.REJECTED)
    assert "str" in said.reason
    docket.end(said.trigger_id, "9")
    assert take_in(docket, b'{"trigger_id": 5}', "1", NOON, 3, NOON) == (None, [])


def test_an_attempt_without_an_answer_is_under_way_and_a_deferral_waits() -> None:
    """What the process before wrote last says where a trigger stands."""
    docket = Docket(None, None, NOON)
    docket.recall(Attempt(ANN.trigger_id, "mail", 1, NOON), "1")
    docket.recall(Attempt(BEN.trigger_id, "mail", 1, NOON), "2")
    docket.recall(Deferral(BEN.trigger_id, "mail", 1, NOON, NOON + MINUTE, "busy"), "3")
    docket.recall(Attempt(CAT.trigger_id, "mail", 1, NOON), "4")
    docket.recall(Outcome(CAT.trigger_id, NOON, Status.ACCEPTED), "5")
    for number, each in enumerate((ANN, BEN, CAT), 1):
        take_in(docket, written(each), str(number), NOON, 0, NOON)
    ann, ben = docket
    assert (ann.stage, ann.attempts, ann.first_at) == (Stage.UNDER_WAY, 1, NOON)
    assert (ben.stage, ben.due) == (Stage.WAITING, NOON + MINUTE)


TRIGGERS = [trigger(f"user-{number}") for number in range(40)]


@settings(max_examples=400)
@given(st.integers(0, 2**32))
def test_over_any_crashes_every_trigger_has_one_outcome_and_no_ended_one_is_opened_again(seed: int) -> None:
    """A process reads some, ends some in any order, keeps its checkpoint or not, and dies; the next goes on from there.

    Few outcomes are remembered, so that checkpoints leave deliveries behind as they do after the first fifty thousand. Clocks
    differ by half a minute.
    """
    chance = Random(seed)
    appended = list(accumulate((chance.choice([0, SECOND, MINUTE]) for _ in TRIGGERS), initial=NOON))[1:]
    deliveries: list[Delivery] = []
    triggers_from, deliveries_from, read = 0, 0, 0
    for life in range(6):
        opened_at = appended[max(read - 1, 0)] + chance.choice([-MINUTE // 2, 0, HOUR])
        docket = Docket(str(triggers_from), str(deliveries_from), opened_at, remembered=3)
        for place in range(deliveries_from, len(deliveries)):
            docket.recall(deliveries[place], str(place + 1))
        read = len(TRIGGERS) if life == 5 else chance.randint(max(read, triggers_from), len(TRIGGERS))
        for position in range(triggers_from, read):
            take_in(docket, written(TRIGGERS[position]), str(position + 1), appended[position], 0, opened_at)
            for case in docket:
                if life == 5 or chance.random() < 0.3:
                    deliveries.append(Outcome(case.trigger_id, opened_at, Status.ACCEPTED))
                    docket.end(case.trigger_id, str(len(deliveries)))
            if chance.random() < 0.1:
                after, place_ = docket.resumes
                triggers_from, deliveries_from = int(after or 0), int(place_ or 0)
    assert sorted(id_of(each) for each in deliveries) == sorted(each.trigger_id for each in TRIGGERS)
