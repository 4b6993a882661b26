"""How often an idle log is looked at."""

from datetime import UTC, datetime, timedelta

import pytest

from connectors.idling import Idling

MILLISECOND = timedelta(milliseconds=1)


@pytest.mark.parametrize(("partitions", "rest"), [(1, 1), (8, 1), (32, 4), (80, 10), (4096, 10)])
def test_the_more_partitions_a_process_reads_the_less_often_it_looks_at_each(partitions: int, rest: int) -> None:
    """Otherwise a process with hundreds of idle partitions would do nothing but look."""
    idling = Idling()
    for _ in range(partitions):
        idling.opened()
    before = datetime.now(tz=UTC)
    until = idling.until()
    assert before + rest * MILLISECOND <= until <= datetime.now(tz=UTC) + rest * MILLISECOND
