"""The OpenAPI document: what is written is what the code says, and what the collector does."""

import base64
from pathlib import Path
from typing import Any

import msgspec
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from api.app import application
from api.collection import PATHS
from api.contract import document
from api.keys import Keys
from connectors.recorder import Metrics
from connectors.redis_append import RedisAppender
from connectors.redis_people import RedisPeople
from tests.api.collecting import ERASER, WRITE_KEY, Collector

ROOT = Path(__file__).parents[2]
READ = ("/v1/profiles", "/v1/users", "/v1/deletions")
WRITER = {"authorization": "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()}

load_all_checks()
SHORT = [path for path in PATHS if len(path) == len("/v1/t")]
"""Other names of paths that are tested by their long one."""

schema = schemathesis.openapi.from_dict(document()).exclude(path=[*SHORT, "/beacon/v1/batch"])


def test_the_written_document_is_the_generated_one() -> None:
    """`python -m api.contract > schemas/openapi.json` writes it anew."""
    written = (ROOT / "schemas" / "openapi.json").read_text(encoding="utf-8")
    assert written == msgspec.json.format(msgspec.json.encode(document()), indent=2).decode() + "\n"


def test_every_path_that_is_served_is_described_and_no_other() -> None:
    """A route without its description fails here, and so does a description without its route."""
    app = application(
        Keys(),
        RedisAppender("redis://127.0.0.1:1/0", 1),
        RedisPeople("redis://127.0.0.1:1/0"),
        lambda: 0,
        contract=document,
        metrics=Metrics(enabled=False),
    )
    served = {(path, "post") for path in PATHS}
    for route in app.rest.routes:
        path = str(getattr(route, "path")).replace(":path}", "}")  # noqa: B009 - only one kind of route has one
        served |= {(path, method.lower()) for method in getattr(route, "methods") - {"HEAD", "OPTIONS"}}  # noqa: B009
    described = {(path, method) for path, methods in document()["paths"].items() for method in methods}
    assert served - {("/sourceConfig", "get")} == described


@schema.parametrize()
@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_collector_does_as_described(case: schemathesis.Case[Any], collector: Collector) -> None:
    """Whatever is sent, by the schema or against it: described statuses and bodies, and never a server error.

    A schema cannot say that a message needs one of two ids, so valid data may be refused; and the key is given here at every
    call, so whether one is needed is tested elsewhere.
    """
    headers = ERASER if case.path.startswith(READ) else WRITER
    response = case.call(base_url=collector.url, headers=headers)
    case.validate_response(response, excluded_checks=[positive_data_acceptance, ignored_auth])


def test_the_document_is_served(collector: Collector) -> None:
    """For whoever generates a client."""
    served: dict[str, Any] = collector.http.get("/openapi.json").json()
    assert served == msgspec.json.decode(msgspec.json.encode(document()))
