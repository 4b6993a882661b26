"""The typeface of pictures: which characters it can draw, and how much text fits."""

import unicodedata
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from PIL import ImageFont

MAX_CHARACTERS: Final = 200

_JOINERS: Final = "\u200c\u200d"
_NO_CHARACTER: Final = "\U0010fffe"
_PROBE_SIZE: Final = 20
_DEJAVU: Final = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")


class Typeface:
    """A regular and a bold font of one family. Text is shaped and ordered for its script where Pillow has Raqm (its wheels do).

    Args:
        regular: a TrueType or OpenType file; without it DejaVu Sans, which has Latin, Greek, Cyrillic, Hebrew and Arabic.
        bold: the same; without it, as `regular`.

    Raises ValueError for a file that is no font.
    """

    def __init__(self, regular: Path | None = None, bold: Path | None = None) -> None:
        if regular is None:
            regular, bold = _bundled()
        self._files = {False: regular, True: bold or regular}
        self.name = f"{regular.name}/{self._files[True].name}"
        self._basic = self._load(regular, _PROBE_SIZE, ImageFont.Layout.BASIC)
        self._missing = self._drawn(_NO_CHARACTER)
        # Caches of this object's own, bounded: what shoppers and catalogues hold has no end.
        self._load_once = lru_cache(maxsize=32)(self._font)
        self.has = lru_cache(maxsize=8192)(self._has)

    def font(self, size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
        """Give the font of a size in pixels."""
        return self._load_once(size, bold)

    def drawable(self, text: str) -> str:
        """Leave out what cannot be drawn, or turns text around, and write blanks as one space."""
        kept = "".join(
            character
            for character in unicodedata.normalize("NFC", text[:MAX_CHARACTERS])
            if character.isspace() or character in _JOINERS or self.has(character)
        )
        return " ".join(kept.strip(_JOINERS).split())

    def fitted(self, text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
        """Shorten a text to a width in pixels, with an ellipsis."""
        if font.getlength(text) <= width:
            return text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if font.getlength(_cut(text, middle)) <= width else (low, middle - 1)
        return _cut(text, low)

    def _font(self, size: int, bold: bool) -> ImageFont.FreeTypeFont:
        return self._load(self._files[bold], size, None)

    def _load(self, file: Path, size: int, layout: ImageFont.Layout | None) -> ImageFont.FreeTypeFont:
        try:
            return ImageFont.truetype(str(file), size, layout_engine=layout)
        except OSError as error:
            raise ValueError(f"{file}: is no font that can be read") from error

    def _has(self, character: str) -> bool:
        return unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"} and (
            self._drawn(character) != self._missing
        )

    def _drawn(self, character: str) -> tuple[tuple[int, int], bytes]:
        mask = self._basic.getmask(character)
        return mask.size, bytes(mask)


def _cut(text: str, length: int) -> str:
    return text[:length].rstrip() + "…"


def _bundled() -> tuple[Path, Path]:
    """Find the fonts that come with matplotlib, without loading it."""
    found = find_spec("matplotlib")
    places = [] if found is None else list(found.submodule_search_locations or [])
    if not places:
        raise ValueError("DejaVu Sans is not installed; name a font by --font")
    folder = Path(places[0]) / "mpl-data" / "fonts" / "ttf"
    return folder / _DEJAVU[0], folder / _DEJAVU[1]
