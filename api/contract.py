"""The OpenAPI document of the collector, built from the limits and structs that requests are checked by."""

import sys
from typing import Any, Final

import msgspec

from api.bodies import MAX_BODY
from api.collection import MAX_MESSAGES, PATHS
from api.contract_schemas import SCHEMAS
from api.profiles import MAX_PROFILES, Asked
from state.wire import MAX_EVENT_BYTES

_JSON: Final = "application/json"
_PROBLEM: Final = {_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
_PROBLEMS: Final = {
    400: "Not what the path is for; `errors` names each bad message, and the others are kept.",
    401: "No key, or an unknown one.",
    403: "The key may not do this.",
    404: "There is no such thing.",
    405: "The path is for another method.",
    408: "The body took too long.",
    413: f"Over a limit: {MAX_BODY} bytes a body, {MAX_MESSAGES} messages a batch, {MAX_EVENT_BYTES} bytes a message.",
    415: "Neither JSON nor text, or compressed by other than gzip.",
    429: "Over the rate limit of the key; send it again later.",
    503: "It cannot be kept now; nothing acknowledged is lost. Send it again later.",
}
_WRITE: Final[list[dict[str, list[str]]]] = [{"writeKey": []}, {"writeKeyInQuery": []}, {}]
_READ: Final[list[dict[str, list[str]]]] = [{"readKey": []}]
_FIELDS: Final = {
    "name": "fields",
    "in": "query",
    "description": "Which fields, separated by commas; all by default.",
    "schema": {"type": "string", "maxLength": 2000},
}


def document() -> dict[str, Any]:
    """Build the document; the same code gives the same."""
    ((_, asked),) = msgspec.json.schema_components([Asked], ref_template="#/components/schemas/{name}")[1].items()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Waxmark collector",
            "version": "1",
            "description": "Events by the Segment protocol, webhooks, profiles. Every error has `code` and `message`.",
        },
        "paths": _collection() | _browser() | _profiles() | _others(),
        "components": {
            "schemas": {**SCHEMAS, "ProfilesAsked": asked},
            "securitySchemes": {
                "writeKey": {"type": "http", "scheme": "basic", "description": "The write key as the name."},
                "writeKeyInQuery": {"type": "apiKey", "in": "query", "name": "writeKey"},
                "readKey": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _collection() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for path, kind in PATHS.items():
        schema = {"batch": "Batch", "metrics": "Anything"}.get(kind, kind.capitalize())
        body = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
        summary = {
            "batch": "Take in a batch of messages.",
            "metrics": "Take in what a browser library tells of itself.",
        }
        operation = {
            "operationId": "post" + path.title().replace("/", "_"),
            "summary": summary.get(kind, f"Take in a message of type {kind}."),
            "tags": ["collection"],
            "security": _WRITE if kind != "metrics" else [{}],
            "requestBody": {"required": kind != "metrics", "content": {_JSON: body, "text/plain": body}},
            "responses": _responses(200, 400, 401, 408, 413, 415, 429, 503, content=_success()),
        }
        if kind == "metrics":
            operation["responses"] = _responses(200, 400, 408, 413, 415, content=_success())
        paths[path] = {"post": operation}
    return paths


def _success() -> dict[str, Any]:
    return {_JSON: {"schema": {"$ref": "#/components/schemas/Success"}}}


def _browser() -> dict[str, Any]:
    key = _path("write_key", "The source's write key.")
    settings = _get("segmentSettings", "Configure Segment's browser library.", "configuration", [key], [{}])
    source = _get("sourceConfig", "Configure RudderStack's browser library.", "configuration", [], _WRITE)
    pixel = _get("pixel", "Take in an event told by a query.", "collection", [], _WRITE)
    pixel["parameters"] = [
        {**_path("type", "What kind of message."), "schema": {"enum": ["track", "page"]}},
        *(_parameter(name) for name in ("event", "userId", "anonymousId", "messageId")),
    ]
    image = {"image/gif": {"schema": {"type": "string", "contentMediaType": "image/gif"}}}
    settings["responses"] = _responses(200, 401, content=_anything())
    source["responses"] = _responses(200, 401, content=_anything())
    pixel["responses"] = _responses(200, 400, 401, 404, 413, 429, 503, content=image)
    return {
        "/v1/projects/{write_key}/settings": {"get": settings},
        "/sourceConfig/": {"get": source},
        "/pixel/v1/{type}": {"get": pixel},
    }


def _profiles() -> dict[str, Any]:
    user = _path("user_id", "The user's id.")
    one = _get("profile", "Read a profile.", "profiles", [user, _FIELDS], _READ)
    shared = _get("profilesOfAddress", "Read the profiles of an email address.", "profiles", [], _READ)
    email = {"type": "string", "minLength": 1, "maxLength": 255}
    shared["parameters"] = [{**_parameter("email"), "required": True, "schema": email}, _FIELDS]
    many = {
        "operationId": "profiles",
        "summary": f"Read up to {MAX_PROFILES} profiles.",
        "tags": ["profiles"],
        "security": _READ,
        "requestBody": {
            "required": True,
            "content": {_JSON: {"schema": {"$ref": "#/components/schemas/ProfilesAsked"}}},
        },
        "responses": _responses(200, 400, 401, 408, 413, 415, 429, 503, content=_schema("Profiles")),
    }
    deletion = _schema("Deletion")
    forget = {
        "operationId": "deleteUser",
        "summary": "Record that a person is to be forgotten.",
        "tags": ["profiles"],
        "security": _READ,
        "parameters": [user],
        "responses": _responses(202, 400, 401, 403, 404, 429, 503, content=deletion),
    }
    proof = _get("deletion", "Say where a deletion stands.", "profiles", [_path("deletion_id", "Its id.")], _READ)
    one["responses"] = _responses(200, 304, 400, 401, 404, 429, 503, content=_schema("Profile"))
    shared["responses"] = _responses(200, 304, 400, 401, 404, 429, 503, content=_schema("Shared"))
    proof["responses"] = _responses(200, 401, 403, 404, 429, 503, content=deletion)
    return {
        "/v1/profiles": {"get": shared},
        "/v1/profiles:batch": {"post": many},
        "/v1/profiles/{user_id}": {"get": one},
        "/v1/users/{user_id}": {"delete": forget},
        "/v1/deletions/{deletion_id}": {"get": proof},
    }


def _others() -> dict[str, Any]:
    hook = {
        "operationId": "webhook",
        "summary": "Take in a call of another system, signed as it signs.",
        "tags": ["webhooks"],
        "security": [{}],
        "parameters": [_path("name", "The webhook's name.")],
        "requestBody": {"required": True, "content": _anything()},
        "responses": _responses(200, 400, 401, 404, 408, 413, 415, 429, 503, content=_schema("WebhookTaken")),
    }
    live = _get("live", "Say that the process is alive.", "operation", [], [{}])
    ready = _get("ready", "Say whether events can be kept now.", "operation", [], [{}])
    itself = _get("contract", "Give this document.", "operation", [], [{}])
    live["responses"] = _responses(200, content=_schema("Status"))
    ready["responses"] = _responses(200, content=_schema("Status"))
    ready["responses"]["503"] = {"description": "Not now.", "content": _schema("Status")}
    itself["responses"] = _responses(200, content=_anything())
    return {
        "/v1/webhooks/{name}": {"post": hook},
        "/healthz": {"get": live},
        "/readyz": {"get": ready},
        "/openapi.json": {"get": itself},
    }


def _get(
    name: str, summary: str, tag: str, parameters: list[dict[str, Any]], security: list[dict[str, list[str]]]
) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "tags": [tag],
        "security": security,
        "parameters": parameters,
    }


def _path(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": 255}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": "string", "maxLength": 255}}


def _schema(name: str) -> dict[str, Any]:
    return {_JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _anything() -> dict[str, Any]:
    return _schema("Anything")


def _responses(success: int, *others: int, content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {str(success): {"description": "Done.", "content": content}}
    for status in others:
        if status == 304:  # noqa: PLR2004 - HTTP's own word
            found["304"] = {"description": "Not changed since the ETag that was sent."}
            continue
        found[str(status)] = {"description": _PROBLEMS[status], "content": _PROBLEM}
        if status in {429, 503}:
            found[str(status)]["headers"] = _RETRY_AFTER
    return found


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document()), indent=2).decode() + "\n")
