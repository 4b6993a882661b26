"""Records: what sources hand to the fold, in this process or another."""

import pickle

from state.records import Batch, Record


def test_a_batch_reaches_a_worker_in_another_process_as_it_was_read() -> None:
    """The engine pickles what crosses: positions, append times, untouched bytes and traces arrive, in their order."""
    records = [Record("1-0", 1, b"\xff{"), Record("1-1", 1, b"{}", "00-4bf9-00f0-01")]
    batch = Batch(3, records, 7)
    assert pickle.loads(pickle.dumps(batch)) == batch  # noqa: S301 - it was written one call before
