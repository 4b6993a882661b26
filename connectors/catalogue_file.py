"""Products from a file: CSV with a header, or JSONL with one product a line. Everything is checked before anything is used."""

import csv
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from state.clock import from_iso, to_iso

MAX_TEXT: Final = 2048
MAX_ID: Final = 255
FIELDS: Final = ("product_id", "name", "price", "currency", "image_url", "url", "stock", "updated_at")

_DELIMITERS: Final = ",;\t"
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_MOST: Final = 1e12

_json: Final = msgspec.json.Decoder(dict[str, Any])


class CatalogueError(ValueError):
    """A file that cannot be used: where, which field, and what is wrong with it, in one line."""


class Product(NamedTuple):
    """One product: its id, the fields that are told, checked and written as texts, and those that are told to be nothing."""

    product_id: str
    fields: dict[str, str]
    cleared: tuple[str, ...] = ()


class CatalogueFile:
    """A file of products. `passed_over` names the fields that are none of ours, once it was read."""

    def __init__(self, path: Path) -> None:
        self._path, self.passed_over = path, set[str]()
        if path.suffix.lower() not in {".csv", ".tsv", ".jsonl", ".ndjson"}:
            raise CatalogueError(f"{path}: name a .csv or .jsonl file")

    def read(self) -> Iterator[Product]:
        """Yield the products in the file's order. Raises CatalogueError at the first that is wrong, OSError."""
        seen: dict[str, int] = {}
        number = 0
        for number, row in self._csv() if self._path.suffix.lower() in {".csv", ".tsv"} else self._jsonl():
            self.passed_over.update(row.keys() - set(FIELDS))
            try:
                product = _checked(row)
            except ValueError as error:
                raise CatalogueError(f"{self._path}:{number}: {error}") from None
            if product.product_id in seen:
                first = seen[product.product_id]
                raise CatalogueError(f"{self._path}:{number}: product_id: {product.product_id} is in line {first} too")
            seen[product.product_id] = number
            yield product
        if not seen:
            raise CatalogueError(f"{self._path}:{max(number, 1)}: no products")

    def _csv(self) -> Iterator[tuple[int, dict[str, Any]]]:
        number = 1
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                header = file.readline()
                file.seek(0)
                rows = csv.reader(file, delimiter=max(_DELIMITERS, key=header.count), strict=True)
                names = [name.strip() for name in next(rows, [])]
                if "product_id" not in names:
                    raise CatalogueError(f"{self._path}:1: no column product_id; ours are {', '.join(FIELDS)}")
                if len(set(names)) < len(names):
                    raise CatalogueError(f"{self._path}:1: a column is given twice")
                number = rows.line_num + 1
                for row in rows:
                    if row and len(row) != len(names):
                        raise CatalogueError(f"{self._path}:{number}: {len(row)} cells under {len(names)} columns")
                    if any(cell.strip() for cell in row):
                        yield number, dict(zip(names, row, strict=True))
                    number = rows.line_num + 1
        except csv.Error as error:
            raise CatalogueError(f"{self._path}:{number}: {error}") from None
        except UnicodeDecodeError:
            raise CatalogueError(f"{self._path}: not UTF-8; save it so") from None

    def _jsonl(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                text = line.strip().removeprefix(b"\xef\xbb\xbf")
                if not text:
                    continue
                try:
                    yield number, _json.decode(text)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise CatalogueError(f"{self._path}:{number}: {error}") from None


def _checked(row: Mapping[str, Any]) -> Product:
    told = {name: _text(name, row[name]) for name in FIELDS if name in row}
    cleared = tuple(name for name, text in told.items() if not text and name not in {"product_id", "updated_at"})
    told = {name: text for name, text in told.items() if text}
    product_id = told.pop("product_id", "")
    if not 0 < len(product_id) <= MAX_ID:
        raise ValueError(f"product_id: has 1 to {MAX_ID} characters")
    if "price" in told:
        told["price"] = _number("price", told["price"])
    if "stock" in told:  # shops sell more than there is, and export that below zero: none left
        count = _number("stock", told["stock"], least=-_MOST)
        told["stock"] = "0" if count.startswith("-") else count
    if "currency" in told and not _CURRENCY.fullmatch(told["currency"]):
        raise ValueError(f"currency: {told['currency'][:20]} is no three capital letters, as in EUR")
    for name in ("url", "image_url"):
        if name in told and (not told[name].startswith(("https://", "http://")) or " " in told[name]):
            raise ValueError(f"{name}: is no https:// or http:// address")
    if "updated_at" in told:
        try:
            told["updated_at"] = to_iso(from_iso(told["updated_at"]))
        except (ValueError, OverflowError):
            raise ValueError(f"updated_at: {told['updated_at'][:40]} is no ISO 8601 time") from None
    return Product(product_id, told, cleared)


def _text(name: str, value: object) -> str:
    """Read a value as text; nothing, null and blanks are absent."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{name}: is neither a text nor a number")  # noqa: TRY004 - of a file, not of a call
    text = str(value).strip()
    if len(text) > MAX_TEXT:
        raise ValueError(f"{name}: has more than {MAX_TEXT} characters")
    return text


def _number(name: str, text: str, least: float = 0.0) -> str:
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name}: {text[:20]} is no number, as in 1299.50")
    if not least <= value <= _MOST:
        raise ValueError(f"{name}: {text[:20]} is out of bounds")
    return str(int(value)) if value == int(value) else repr(value)
