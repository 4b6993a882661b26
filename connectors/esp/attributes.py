"""What a provider that renders by itself is told of a trigger."""

from typing import Any, Final

from state.letters import Letter

_KEPT_HERE: Final = frozenset({"profile", "shop"})
"""A provider has its own copy of the person and the shop; what it does not need to know stays with us."""


def attributes(letter: Letter) -> dict[str, Any]:
    """List the trigger's ids, and what its email shows: items, totals, properties and links."""
    trigger = letter.trigger
    shown = {name: value for name, value in letter.data.items() if name not in _KEPT_HERE and value is not None}
    return {
        **shown,
        "trigger_id": trigger.trigger_id,
        "campaign_id": trigger.campaign_id,
        "template_id": trigger.template_id,
    }
