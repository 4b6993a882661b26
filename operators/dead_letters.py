"""Dead letters: what could not be processed, with its reason, its bytes and where it came from."""

import base64

from state.events import Rejected
from state.outputs import DeadLetter
from state.records import Record


def letter(record: Record, why: Rejected, partition: int) -> DeadLetter:
    """Write down a record that was rejected; its id is its place in the log, so a replay writes the same."""
    text, coded = None, None
    try:
        text = record.value.decode()
    except UnicodeDecodeError:
        coded = base64.b64encode(record.value).decode()
    return DeadLetter(
        id=f"{partition}:{record.position}",
        reason=why.reason.value,
        detail=why.detail,
        partition=partition,
        position=record.position,
        log_time=record.log_time,
        value=text,
        base64=coded,
    )
