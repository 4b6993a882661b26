"""Who runs on a recovery directory: the last that started. One that was there before, and slept, finds that out and ends.

A process that was stopped and goes on would write its old snapshots among those of its successor. It looks before each of
them; what it writes to Kafka is refused by the broker in any case.
"""

from pathlib import Path

from connectors.topics import Fenced


class Claim:
    """A process's claim on its recovery directory; `run_id` names this run among all that there were."""

    def __init__(self, file: Path, run_id: str) -> None:
        self._file, self.run_id = file, run_id

    @classmethod
    def take(cls, directory: Path, process_id: int, run_id: str, *, whole: bool = True) -> "Claim":
        """Take over; who had it until now ends at its next snapshot.

        Args:
            directory: where the snapshots are.
            process_id: the number of this process in its cluster.
            run_id: never used before; if `whole`, the same in all processes of the cluster.
            whole: take the places of all former processes, not only that of the same number.
        """
        directory.mkdir(parents=True, exist_ok=True)
        mine = directory / f"claim-{process_id}"
        for file in {mine, *(directory.glob("claim-*") if whole else ())}:
            new = directory / f".{file.name}-{run_id}-{process_id}"
            new.write_text(run_id)
            new.replace(file)
        return cls(mine, run_id)

    def check(self) -> None:
        """Raise Fenced where another has taken over."""
        if self._file.read_text() != self.run_id:
            raise Fenced(f"{self._file.parent} was taken over by another worker; this one ends")
