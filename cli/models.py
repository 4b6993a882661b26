"""`waxmark models`: which models there are, how good they are, and which one is the champion."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

import cyclopts
import msgspec
from rich.console import Console
from rich.table import Table

from connectors.learning_log import Promotion, Registry, learning_log, named
from connectors.redis_streams import connect
from connectors.settings import Settings
from models.promotion import objections
from models.report import Quality, Report
from state.clock import DAY, to_iso

app = cyclopts.App(name="models", help="List, show, promote and roll back the models that score churn.")
_out: Final = Console(highlight=False, soft_wrap=True)


class NotPromoted(ValueError):
    """A promotion that the rule speaks against, or one of a model that is not there; the message says why."""


@app.command(name="list")
def list_(*, tenant: str = "default") -> None:
    """List the models with their figures; a star marks the champion. `off by` is the calibration error.

    Example: `waxmark models list`
    """
    with _registry() as registry:
        reports, champion = _reports(registry, tenant), _champion(registry, tenant)
    columns = ("model", "version", "labels", "AUC", "log loss", "off by", "loss less champion's")
    table = Table(*columns, title=f"{tenant}: {len(reports)} models")
    for name, report in reports.items():
        compared = report.against.get(champion)
        difference = "" if compared is None else f"{compared.mean:+.4f}"
        table.add_row(
            f"{name} *" if name == champion else name,
            report.version,
            str(sum(report.labels)),
            f"{report.all.auc:.4f}",
            f"{report.all.log_loss:.4f}",
            f"{report.all.calibration_error:.4f}",
            difference,
        )
    _out.print(table)


@app.command
def show(name: str, *, tenant: str = "default") -> None:
    """Show what is known of one model, what drifted, and what speaks against promoting it.

    Example: `waxmark models show ftrl`
    """
    with _registry() as registry:
        reports, champion = _reports(registry, tenant), _champion(registry, tenant)
        history = registry.promotions(tenant)
    report = _found(reports, name)
    _out.print(
        f"{name} {report.version}: {report.labels[1]} labels of 1, {report.labels[0]} of 0, as of {to_iso(report.at)}"
    )
    _out.print(f"in the shadow for {report.shadow / DAY:.1f} days, of a horizon of {report.horizon / DAY:.1f}")
    _out.print(f"all: {_said(report.all)}\neligible: {_said(report.eligible)}")
    _out.print(
        f"refused {report.refused}, cut {report.cut}, not learned {report.unlearned}, withheld {report.withheld}"
    )
    for feature, at in report.drifted.items():
        _out.print(f"drifted: {feature}, last at {to_iso(at)}")
    for promotion in history:
        if promotion.name == name:
            _out.print(f"champion from {promotion.at}{' by force' if promotion.forced else ''}")
    if name == champion:
        _out.print("it is the champion")
    elif champion in reports:
        for objection in objections(report, reports[champion]) or ["nothing speaks against promoting it"]:
            _out.print(f"- {objection}", markup=False)


@app.command
def promote(name: str, *, tenant: str = "default", force: bool = False) -> None:
    """Make a model the champion: it scores from the next record of every partition on; nothing is restarted.

    Refused unless it scored in the shadow for a whole horizon and 2,000 labels, its log loss is surely lower and its
    calibration no worse.

    Example: `waxmark models promote ftrl`

    Parameters
    ----------
    name
        The model.
    tenant
        Whose model.
    force
        Promote in spite of what speaks against it; that is kept with the promotion.
    """
    with _registry() as registry:
        reports, champion = _reports(registry, tenant), _champion(registry, tenant)
        report = _found(reports, name)
        if name == champion:
            raise NotPromoted(f"{name} is the champion already")
        against = objections(report, reports[champion]) if champion in reports else []
        if not report.can_score:
            raise NotPromoted(f"{name} has no weights in plain numbers, and cannot score in the fold")
        if against and not force:
            raise NotPromoted("\n".join([f"{name} is not promoted:", *(f"- {objection}" for objection in against)]))
        _change(registry, tenant, Promotion(name, _now(), champion, against))
    _out.print(f"{name} is the champion of {tenant}")


@app.command
def rollback(*, tenant: str = "default") -> None:
    """Make the champion before this one the champion again.

    Example: `waxmark models rollback`
    """
    with _registry() as registry:
        history = registry.promotions(tenant)
        before = history[-1].before if history else ""
        if not before:
            raise NotPromoted(f"{tenant} has had no other champion")
        _change(registry, tenant, Promotion(before, _now(), history[-1].name, ["rolled back"]))
    _out.print(f"{before} is the champion of {tenant} again")


@contextmanager
def _registry() -> Iterator[Registry]:
    registry = Registry(connect(Settings().redis))
    try:
        yield registry
    finally:
        registry.close()


def _change(registry: Registry, tenant: str, promotion: Promotion) -> None:
    learning_log(Settings(), os.environ).append_everywhere([named(tenant, promotion.name)])
    registry.promote(tenant, promotion)


def _reports(registry: Registry, tenant: str) -> dict[str, Report]:
    return {name: msgspec.json.decode(value, type=Report) for name, value in registry.reports(tenant).items()}


def _champion(registry: Registry, tenant: str) -> str:
    history = registry.promotions(tenant)
    return history[-1].name if history else ""


def _found(reports: dict[str, Report], name: str) -> Report:
    if name not in reports:
        raise NotPromoted(f"there is no model {name}; there are: {', '.join(reports) or 'none yet'}")
    return reports[name]


def _said(quality: Quality) -> str:
    return (
        f"{quality.examples} examples, AUC {quality.auc:.4f}, log loss {quality.log_loss:.4f}, Brier {quality.brier:.4f}, "
        f"calibration error {quality.calibration_error:.4f}"
    )


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="seconds")
