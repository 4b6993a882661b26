"""What delivery asks of a provider."""

from typing import Protocol

from state.letters import Answer, Letter


class Esp(Protocol):
    """One provider, opened in the event loop that uses it; any number of calls may be under way."""

    @property
    def remembers(self) -> float:
        """For how many seconds the provider takes a repeated trigger id once; 0 where it takes no idempotency key."""

    @property
    def renders(self) -> bool:
        """Tell whether the provider renders, so that letters need no `email`."""

    async def send(self, letter: Letter) -> Answer:
        """Hand over one letter. What the provider or the network does wrong is an Answer, never an exception.

        Only a call of which it is sure that nothing was accepted answers RETRY: the connection was refused, or the provider
        said so. A lost answer is AMBIGUOUS; where the provider remembers keys, whoever called asks again.
        """

    async def close(self) -> None:
        """Let go of connections."""
