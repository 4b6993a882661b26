"""Event names in the campaign file: what is known by which name, and what is likely a slip of the pen."""

import difflib
import re
from collections.abc import Container
from typing import Final

from state.campaigns import ANY
from state.commerce import KNOWN

MESSAGE_TYPES: Final = ("identify", "page", "screen", "group")
_NAMES: Final = {
    **{name: known.name for name, known in KNOWN.items()},
    **{name: name for name in (*MESSAGE_TYPES, ANY)},
}
"""Every name that means something to us, with its canonical form."""
CANONICAL: Final = sorted(set(_NAMES.values()))


def canonical(name: str, own: Container[str]) -> str:
    """Give an event's name as the fold knows it; names of a shop's own stay as they are.

    Raises ValueError for a name that is almost a known one and not among those that the shop says are its `own`.
    """
    known = _NAMES.get(name)
    if known is not None or name in own:
        return known or name
    alike = [known for known in _NAMES if known != ANY and _is_slip(name, known)]
    if alike:
        best = difflib.get_close_matches(name, alike, n=1, cutoff=0)[0]
        raise ValueError(
            f'is not an event; did you mean "{_NAMES[best]}"? (If your shop sends it so, list it below "events:" at the top)'
        )
    return name


def _is_slip(name: str, known: str) -> bool:
    """Tell a name mistyped from a name of its own: "Order Complete" is a slip, "Product Saved" (near Shared) is not."""
    mine, theirs = (re.split(r"[\W_]+", text.casefold().strip()) for text in (name, known))
    endings = re.compile(r"(ed|ing|[sd])$")
    return _one_apart("".join(mine), "".join(theirs)) or (
        len(mine) == len(theirs)
        and all(_one_apart(endings.sub("", a), endings.sub("", b)) for a, b in zip(mine, theirs, strict=True))
    )


def _one_apart(a: str, b: str) -> bool:
    """Tell whether two words are equal but for one letter added, left out, changed, or swapped with the next."""
    short, long = sorted((a, b), key=len)
    i = next((i for i, (x, y) in enumerate(zip(short, long, strict=False)) if x != y), len(short))
    swapped = short[i : i + 2] == long[i : i + 2][::-1] and short[i + 2 :] == long[i + 2 :]
    return short[i:] == long[i + 1 :] or short[i + 1 :] == long[i + 1 :] or swapped
