"""Log lines for machines to read: one JSON object a line, with fields, and no personal data.

A message is a fixed sentence; what varies goes into fields: `log.warning("far behind", extra={"partition": 3})`. The
formatter is the last guard, not the first: it withholds fields that name a person or carry a record's content, values
that are not scalars, anything shaped like an email address, and the text of exceptions, which tends to quote data.
"""

import logging
import re
import sys
from collections.abc import Mapping
from traceback import extract_tb
from typing import Any, Final, TextIO

import msgspec

from state.clock import SECOND, to_iso

Scalar = str | int | float | bool | None

WITHHELD: Final = "[withheld]"

PERSONAL: Final = frozenset(
    {"user_id", "anonymous_id", "previous_id", "user", "visitor", "email", "phone", "address", "ip", "user_agent"}
    | {"first_name", "last_name", "full_name", "key", "subject"}
    | {"record", "value", "raw", "body", "payload", "properties", "traits", "context"}
)
"""Field names whose values say who someone is or what they sent; names are compared in snake case."""

_ADDRESS: Final = re.compile(r"[^\s@]+@[^\s@]+")
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_encoder: Final = msgspec.json.Encoder()


class JsonLines(logging.Formatter):
    """Writes a log record as one line of JSON; `always` are fields of every line, such as the dataflow's name."""

    def __init__(self, always: Mapping[str, Scalar]) -> None:
        super().__init__()
        self._always = dict(always)

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; never raises because of what is logged."""
        line: dict[str, Any] = {
            "at": to_iso(int(record.created * SECOND)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _masked(_sentence(record)),
            **self._always,
        }
        for name, value in vars(record).items():
            if name not in _OWN:
                line.setdefault(_masked(name), _allowed(name, value))
        if record.exc_info and record.exc_info[1]:
            line["error"] = type(record.exc_info[1]).__qualname__
            line["where"] = [f"{f.filename}:{f.lineno} {f.name}" for f in extract_tb(record.exc_info[2])]
        return _encoder.encode(line).decode()


def configure(level: str = "INFO", always: Mapping[str, Scalar] | None = None, stream: TextIO | None = None) -> None:
    """Send every log line and warning of this process to `stream` (stderr) as JSON; a second call replaces the first.

    Raises ValueError where `level` is not one of logging's names.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines(always or {}))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


def _sentence(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return str(record.msg)


def _allowed(name: str, value: object) -> Scalar:
    if _HUMP.sub("_", name).lower() in PERSONAL:
        return WITHHELD
    if isinstance(value, str):
        return _masked(value)
    return value if isinstance(value, int | float | None) else WITHHELD


def _masked(text: str) -> str:
    writable = text.encode(errors="replace").decode()
    return _ADDRESS.sub(WITHHELD, writable)
