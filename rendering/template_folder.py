"""Templates in a folder: NAME.mjml, partials/*.mjml, and shop.yaml with what is true of every email of the shop."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from rendering.problems import TemplateError

BUILT_IN: Final = Path(__file__).parents[1] / "templates"
"""The templates that come with Waxmark."""

Load = Callable[[str], str]
"""Gives the text of a file by its path within the templates, `partials/footer.mjml`; raises TemplateError."""

MAX_BYTES: Final = 256 * 1024


def template_folder(folder: Path) -> Load:
    """Read templates from a folder, and nothing outside it."""
    inside = folder.resolve()

    def load(path: str) -> str:
        file = inside / path
        if not file.resolve().is_relative_to(inside):
            raise TemplateError(f"{path}: lies outside the templates")
        try:
            content = file.read_bytes()
        except OSError as error:
            raise TemplateError(f"{folder / path}: {error.strerror}") from None
        if len(content) > MAX_BYTES:
            raise TemplateError(f"{folder / path}: larger than {MAX_BYTES // 1024} KB")
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise TemplateError(f"{folder / path}:{line}: not UTF-8") from None

    return load


def shop_of(load: Load) -> dict[str, str]:
    """Read shop.yaml: flat texts such as name, url, address, currency, locale."""
    try:
        return msgspec.yaml.decode(load("shop.yaml"), type=dict[str, str], strict=False)
    except msgspec.DecodeError as error:
        raise TemplateError(f"shop.yaml: {' '.join(str(error).split())}") from None
