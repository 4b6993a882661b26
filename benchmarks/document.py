"""Tables of figures in docs/performance.md: each between two comments of its name, written anew by its benchmark."""

import re
from pathlib import Path
from typing import Final

DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "performance.md"


def put(name: str, lines: list[str], document: Path = DOCUMENT) -> None:
    """Put lines in the place of those that stand between the comments of this name."""
    between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    text, found = between.subn(
        lambda place: "\n".join([f"{place[1]}{lines[0]}", *lines[1:], place[2]]), document.read_text()
    )
    if not found:
        raise ValueError(f"{document} has no place for {name}")
    document.write_text(text)


def table(head: str, rows: list[list[str]]) -> list[str]:
    """Write a table; `head` names its columns, with bars between them."""
    columns = head.split("|")
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(cell.strip() for cell in line)} |" for line in lines]
