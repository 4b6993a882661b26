"""Log lines: their form, and that they hold no personal data."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.logs import PERSONAL, WITHHELD, JsonLines, configure


@pytest.fixture(autouse=True)
def _own_root_logger(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test a bare root logger and take back what `configure` changed in the process."""
    monkeypatch.setattr(logging.root, "handlers", [])
    level = logging.root.level
    yield
    logging.captureWarnings(capture=False)
    logging.root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Parse what was logged, one object a line."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def formatted(fields: dict[str, Any], message: str = "something happened") -> dict[str, Any]:
    """Format one record with these fields."""
    record = logging.LogRecord("waxmark", logging.INFO, __file__, 1, message, None, None)
    record.created = 1_767_225_600.25
    vars(record).update(fields)
    parsed: dict[str, Any] = json.loads(JsonLines({}).format(record))
    return parsed


def test_a_line_is_one_json_object_with_time_level_message_and_fields() -> None:
    """What a log pipeline indexes without a parser of its own."""
    assert formatted({"partition": 3, "seconds": 0.5, "at_end": True, "campaign": "cart"}) == {
        "at": "2026-01-01T00:00:00.250Z",
        "level": "info",
        "logger": "waxmark",
        "message": "something happened",
        "partition": 3,
        "seconds": 0.5,
        "at_end": True,
        "campaign": "cart",
    }


def test_configured_logging_writes_each_record_as_one_line_with_the_fields_of_the_process() -> None:
    """Line breaks in a message must not break the line."""
    stream = io.StringIO()
    configure("info", {"dataflow": "personalization"}, stream)
    logging.getLogger("waxmark.shard").warning("first\nsecond", extra={"partition": 1})
    logging.getLogger("waxmark.shard").debug("not at this level")
    (line,) = lines(stream)
    assert (line["message"], line["level"], line["partition"]) == ("first\nsecond", "warning", 1)
    assert (line["logger"], line["dataflow"]) == ("waxmark.shard", "personalization")


def test_lines_go_to_stderr_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output belongs to commands that print data."""
    configure()
    logging.getLogger("waxmark").info("here")
    captured = capsys.readouterr()
    assert json.loads(captured.err)["message"] == "here"
    assert captured.out == ""


def test_configuring_twice_writes_each_record_once() -> None:
    """A process that is started twice in one test would otherwise log everything double."""
    first, second = io.StringIO(), io.StringIO()
    configure(stream=first)
    configure(stream=second)
    logging.getLogger("waxmark").info("once")
    assert (lines(first), len(lines(second))) == ([], 1)


def test_warnings_become_log_lines_too() -> None:
    """A library's warning between the lines would be the one line that the pipeline cannot read."""
    stream = io.StringIO()
    configure(stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("this will change", FutureWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    (line,) = lines(stream)
    assert (line["logger"], line["level"]) == ("py.warnings", "warning")
    assert "this will change" in line["message"]


def test_a_level_that_does_not_exist_is_refused() -> None:
    """A typing error in a setting must not silence a process."""
    with pytest.raises(ValueError, match="LOUD"):
        configure("loud")


@pytest.mark.parametrize("name", [*sorted(PERSONAL), "userId", "anonymousId", "USER_ID", "firstName"])
def test_fields_that_say_who_someone_is_or_what_they_sent_are_withheld(name: str) -> None:
    """Whichever spelling a field came in, snake case or that of the wire."""
    assert formatted({name: "42"})[name] == WITHHELD


@pytest.mark.parametrize("value", [{"email": "a"}, ["a"], b"bytes", object()])
def test_values_that_are_not_scalars_are_withheld(value: object) -> None:
    """An event or a record handed to a log line carries all that a person sent."""
    assert formatted({"event": value})["event"] == WITHHELD


def test_what_looks_like_an_email_address_is_withheld_wherever_it_stands() -> None:
    """Also the password in a connection URL: it stands where the local part of an address would."""
    line = formatted({"broker": "redis://default:secret@redis:6379/0"}, "no consent of jo.bloggs+1@example.com here")
    assert line["message"] == f"no consent of {WITHHELD} here"
    assert line["broker"] == WITHHELD


def test_an_exception_is_named_and_placed_but_not_quoted() -> None:
    """The text of a KeyError is the key, which is a user's id often enough."""
    stream = io.StringIO()
    configure(stream=stream)
    people: dict[str, int] = {}
    try:
        people["user-42"] += 1
    except KeyError:
        logging.getLogger("waxmark").exception("lookup failed")
    (line,) = lines(stream)
    assert line["error"] == "KeyError"
    assert line["where"][-1].startswith(f"{__file__}:")
    assert "user-42" not in stream.getvalue()


def test_a_message_that_does_not_fit_its_arguments_is_still_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake in a log call must neither raise nor be lost."""
    stream = io.StringIO()
    configure(stream=stream)
    logging.getLogger("waxmark").warning("%d partitions", "four")
    (line,) = lines(stream)
    assert line["message"] == "%d partitions"
    assert capsys.readouterr().err == ""


TEXTS = st.text(st.characters(exclude_categories=()))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS


@given(st.dictionaries(TEXTS, SCALARS), TEXTS)
def test_whatever_is_logged_the_line_is_json_on_one_line(fields: dict[str, Any], message: str) -> None:
    """Lone surrogates, NaN, numbers beyond 64 bits: none may cost the line."""
    record = logging.makeLogRecord({f"field_{name}": value for name, value in fields.items()} | {"msg": message})
    line = JsonLines({}).format(record)
    assert "\n" not in line
    assert "message" in json.loads(line)


def test_an_exception_without_a_traceback_is_named() -> None:
    """Libraries log exceptions that were never raised."""
    record = logging.makeLogRecord({"exc_info": (OSError, OSError("text"), None)})
    line = json.loads(JsonLines({}).format(record))
    assert (line["error"], line["where"]) == ("OSError", [])
