"""The job in Pathway: a stateful reducer per user, in its streaming mode, over a file's lines.

A stateful reducer sees a user's new rows of each small batch in no order, so they are sorted by their place in the file first.
It has no timers: what is due is done at a person's next event, or counted at the end: less work than the job asks for. The
state is kept beside the reducer, which spares Pathway copying it.
"""

from pathlib import Path
from typing import Any

import msgspec
import pathway as pw  # type: ignore[import-not-found]

from benchmarks.peers.asked import asked
from benchmarks.peers.job import NEVER, START, STEP, Counts, Person, read

BATCH = 2000
"""Rows to a commit."""


class Line(pw.Schema):  # type: ignore[misc]
    """A line and its number."""

    number: int
    line: bytes


class Lines(pw.io.python.ConnectorSubject):  # type: ignore[misc]
    """Reads a file line by line."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self._file = file

    def run(self) -> None:
        """Hand the lines over."""
        with Path(self._file).open("rb") as lines:
            for number, line in enumerate(lines):
                self.next(number=number, line=line)
                if number % BATCH == BATCH - 1:
                    self.commit()


@pw.udf(deterministic=True)  # type: ignore[untyped-decorator]
def decoded(number: int, line: bytes) -> tuple[str, str, str, int]:
    """Read a line; the user is empty where it is to be rejected."""
    seen = read(line, START + number * STEP)
    if seen is None:
        return "", "", "", 0
    message, time = seen
    return message.user_id, message.message_id, message.event, time


def main() -> None:
    """Read the file to the end, and print the counts."""
    options = asked()
    counts, balance = Counts(), [0, 0]
    people: dict[str, Person] = {}

    @pw.reducers.stateful_many  # type: ignore[untyped-decorator]
    def folded(state: str | None, rows: list[tuple[list[Any], int]]) -> str:
        taken = sorted(row for row, _ in rows)
        user = state if state is not None else taken[0][1][0]
        if user == "":
            counts.rejects += len(taken)
            return user
        person = people.get(user)
        if person is None:
            person = people[user] = Person()
        sessions, cart = len(person.open), person.due != NEVER
        for number, (_, id_, event, time) in taken:
            person.take(counts, id_, event, time, START + number * STEP)
        balance[0] += len(person.open) - sessions
        balance[1] += (person.due != NEVER) - cart
        return user

    lines = pw.io.python.read(Lines(options.files[0]), schema=Line, autocommit_duration_ms=None)
    read_lines = lines.select(lines.number, message=decoded(lines.number, lines.line))
    keyed = read_lines.select(read_lines.number, read_lines.message, user=pw.this.message[0])
    people_table = keyed.groupby(keyed.user).reduce(user=folded(keyed.number, keyed.message))
    pw.io.null.write(people_table)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    counts.sessions += balance[0]
    counts.abandonments += balance[1]
    print(msgspec.json.encode(counts).decode())


if __name__ == "__main__":
    main()
