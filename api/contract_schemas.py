"""The schemas of the OpenAPI document: what may be sent, and what is answered."""

from typing import Any, Final

from api.collection import MAX_MESSAGES
from state.wire import MAX_MESSAGE_ID

_ID: Final = {"type": ["string", "integer", "null"], "maxLength": 255}
_TIME: Final = {"type": ["string", "null"], "format": "date-time"}
_OBJECT: Final = {"description": "An object; anything else says nothing and is kept."}
_TEXT: Final = {"type": "string"}
_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 255}

_COMMON: Final[dict[str, Any]] = {
    "messageId": {"type": ["string", "null"], "maxLength": MAX_MESSAGE_ID},
    "userId": _ID,
    "anonymousId": _ID,
    "timestamp": _TIME,
    "originalTimestamp": _TIME,
    "sentAt": _TIME,
    "context": _OBJECT,
    "integrations": _OBJECT,
    "writeKey": {"type": ["string", "null"]},
}


def _message(description: str, required: tuple[str, ...] = (), **own: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "description": f"{description} One of userId and anonymousId is needed. Further properties are kept.",
        "properties": _COMMON | own,
        "required": list(required),
    }


SCHEMAS: Final[dict[str, Any]] = {
    "Anything": {"description": "Any JSON."},
    "Track": _message("Something a person did.", ("event",), event=_NAME, properties=_OBJECT),
    "Identify": _message("Who a person is.", traits=_OBJECT),
    "Page": _message("A page seen.", name={"type": ["string", "null"]}, properties=_OBJECT),
    "Screen": _message("A screen seen.", name={"type": ["string", "null"]}, properties=_OBJECT),
    "Group": _message("A person belongs to a group.", ("groupId",), groupId=_ID, traits=_OBJECT),
    "Alias": _message("Two ids are one person.", ("previousId",), previousId=_ID),
    "Batch": {
        "type": "object",
        "properties": {
            "batch": {
                "type": "array",
                "description": f"At most {MAX_MESSAGES}; more are answered by 413.",
                "items": {
                    "type": "object",
                    "properties": {"type": {"enum": ["track", "identify", "page", "screen", "group", "alias"]}},
                    "required": ["type"],
                },
            },
            "context": _OBJECT,
            "integrations": _OBJECT,
            "sentAt": {"description": "A time; checked with each message."},
            "writeKey": {"type": ["string", "null"]},
        },
        "required": ["batch"],
    },
    "Success": {"type": "object", "properties": {"success": {"const": True}}, "required": ["success"]},
    "Problem": {
        "type": "object",
        "properties": {
            "success": {"const": False},
            "code": _TEXT,
            "message": _TEXT,
            "accepted": {"type": "integer", "description": "How many messages of the batch were kept."},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"index": {"type": "integer"}, "code": _TEXT, "message": _TEXT},
                    "required": ["index", "code", "message"],
                },
            },
        },
        "required": ["success", "code", "message"],
    },
    "Profile": {
        "type": "object",
        "description": "Fields as of `as_of`.",
        "properties": {"user_id": _TEXT},
        "required": ["user_id"],
    },
    "Shared": {
        "type": "object",
        "properties": {"profiles": {"type": "array", "items": {"$ref": "#/components/schemas/Profile"}}},
        "required": ["profiles"],
    },
    "Profiles": {
        "type": "object",
        "properties": {
            "profiles": {"type": "array", "items": {"$ref": "#/components/schemas/Profile"}},
            "unknown": {
                "type": "object",
                "properties": {
                    "user_ids": {"type": "array", "items": _TEXT},
                    "emails": {"type": "array", "items": _TEXT},
                },
                "required": ["user_ids", "emails"],
            },
        },
        "required": ["profiles", "unknown"],
    },
    "Deletion": {
        "type": "object",
        "properties": {
            "deletion_id": _TEXT,
            "status": {"enum": ["recorded", "done"]},
            "requested_at": {"type": "string", "format": "date-time"},
            "record": {
                "type": "object",
                "properties": {"partition": {"type": "integer"}, "position": _TEXT},
                "required": ["partition", "position"],
            },
        },
        "required": ["deletion_id", "status", "requested_at", "record"],
    },
    "WebhookTaken": {
        "type": "object",
        "properties": {
            "success": {"const": True},
            "accepted": {"type": "integer"},
            "refused": {"type": "integer"},
            "unknown_people": {"type": "integer"},
        },
        "required": ["success", "accepted", "refused", "unknown_people"],
    },
    "Status": {
        "type": "object",
        "properties": {"status": {"enum": ["alive", "ready", "unavailable"]}},
        "required": ["status"],
    },
}
