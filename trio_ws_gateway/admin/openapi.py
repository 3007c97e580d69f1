"""The description of the operator's door, in OpenAPI 3.1: served by it, and kept in ``docs/``. Only data."""

from typing import Any

from trio_ws_gateway import __version__
from trio_ws_gateway.auth.token import MAX_NAME_CHARACTERS, MAX_NUMERIC_DATE

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000

_TEXT: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARACTERS}
_TIME: dict[str, Any] = {
    "type": "number",
    "minimum": 0,
    "maximum": MAX_NUMERIC_DATE,
    "description": "Seconds since 1970.",
}
_MAYBE_TEXT: dict[str, Any] = {"type": ["string", "null"]}
_UNANSWERED: dict[str, Any] = {
    "type": "integer",
    "description": "Processes of the group that did not answer in time, and whose share is missing here.",
}


def _answer(what: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": schema}}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _wrong(*statuses: str) -> dict[str, Any]:
    words = {
        "404": "No session of this id lives here.",
        "408": "The body took too long.",
        "413": "The body is too long.",
        "415": "The body is not `application/json`.",
        "422": "The request says something that is not understood; `error` says what.",
        "507": "There are as many revocations as may be: live sessions are cut, but this one is not remembered.",
    }
    everywhere = {
        "401": {"$ref": "#/components/responses/NoCredential"},
        "403": {"$ref": "#/components/responses/WebPage"},
    }
    return {status: _answer(words[status], {"$ref": "#/components/schemas/Error"}) for status in statuses} | everywhere


_REVOCATION = {
    "iss": {
        **_TEXT,
        "description": "The issuer of the tokens; where it is not given `JWT_EXPECTED_ISSUER`, and where that is unset,"
        " whichever.",
    },
    "jti": {**_TEXT, "description": "One token; with `sub`, only where it is that subject's."},
    "sub": {**_TEXT, "description": "All tokens of a subject."},
    "sid": {**_TEXT, "description": "All tokens of a session at the provider."},
    "session": {**_TEXT, "description": "One live session of a gateway, by the `session` in its log line."},
    "issued_before": {
        **_TIME,
        "description": "With `sub`: only its tokens whose `iat` is before that, in seconds since 1970, or missing."
        " Whoever logs in again may come again.",
    },
}

_SESSION = _object(
    {
        "id": {"type": "string"},
        "iss": _MAYBE_TEXT,
        "sub": _MAYBE_TEXT,
        "preferred_username": _MAYBE_TEXT,
        "jti": _MAYBE_TEXT,
        "protocol": _MAYBE_TEXT,
        "client": {"type": "string", "description": "The client's address."},
        "upstream": _MAYBE_TEXT,
        "age_seconds": {"type": "number"},
        "bytes_from_client": {"type": "integer"},
        "bytes_from_upstream": {"type": "integer"},
        "expires_at": {"type": ["number", "null"], "description": "`exp` of its token, in seconds since 1970."},
    }
)

_UPSTREAM = _object(
    {
        "protocol": {"type": "string"},
        "url": {"type": "string"},
        "healthy": {"type": ["boolean", "null"], "description": "What the last probe found; `null`: there was none."},
        "reason": {**_MAYBE_TEXT, "description": "Why it is not healthy."},
        "circuits": {
            **_object({"closed": {"type": "integer"}, "half-open": {"type": "integer"}, "open": {"type": "integer"}}),
            "description": "In how many processes its circuit breaker is in which state.",
        },
    }
)


def _parameter(name: str, where: str, schema: dict[str, Any], what: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": schema, "description": what}


def _operation(name: str, summary: str, responses: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"operationId": name, "summary": summary, **more, "responses": responses}


_PATHS: dict[str, Any] = {
    "/admin/revoke": {
        "post": _operation(
            "revoke",
            "Take back a token, a subject's tokens, or a session; live sessions of it end with 1008 `Token revoked`.",
            {
                "200": _answer(
                    "It is in effect in every process that has answered.",
                    _object(
                        {
                            "revoked": {
                                "type": "object",
                                "properties": {
                                    **_REVOCATION,
                                    "until": {**_TIME, "description": "When it may be forgotten."},
                                },
                                "required": ["until"],
                                "additionalProperties": False,
                            },
                            "cut": {"type": "integer", "description": "Live sessions that it ends in this group."},
                            "unanswered": _UNANSWERED,
                            "scope": {
                                "type": "string",
                                "description": "Where it is in effect: `this group only` where gateways share nothing.",
                            },
                        }
                    ),
                ),
                **_wrong("408", "413", "415", "422", "507"),
            },
            requestBody={
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "properties": {
                                **_REVOCATION,
                                "exp": {
                                    **_TIME,
                                    "description": "With `jti`: when the token expires, so that the revocation is kept"
                                    " no longer than needed.",
                                },
                            },
                            "additionalProperties": False,
                            "anyOf": [{"required": [name]} for name in ("jti", "sub", "sid", "session")],
                        },
                        "examples": {
                            "token": {"value": {"sub": "robot-7", "jti": "a1b2"}},
                            "subject": {"value": {"sub": "robot-7"}},
                            "logged in before": {"value": {"sub": "robot-7", "issued_before": 1800000000}},
                        },
                    }
                },
            },
        )
    },
    "/admin/sessions": {
        "get": _operation(
            "sessions",
            "The live sessions of all processes of this gateway, in the order of their ids.",
            {
                "200": _answer(
                    "A page of them.",
                    _object(
                        {
                            "sessions": {"type": "array", "items": _SESSION},
                            "next": {**_MAYBE_TEXT, "description": "`after` of the next page; `null`: there is none."},
                            "unanswered": _UNANSWERED,
                        }
                    ),
                ),
                **_wrong("422"),
            },
            parameters=[
                _parameter("sub", "query", {"type": "string"}, "Only those of this subject."),
                _parameter("protocol", "query", {"type": "string"}, "Only those that speak this protocol."),
                _parameter("after", "query", {"type": "string"}, "Only those whose id comes after this one."),
                _parameter(
                    "limit",
                    "query",
                    {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
                    "So many at most.",
                ),
            ],
        )
    },
    "/admin/sessions/{id}": {
        "delete": _operation(
            "cut",
            "End one live session. Its token stays good.",
            {"204": {"description": "It is told to end."}, **_wrong("404")},
            parameters=[_parameter("id", "path", {"type": "string"}, "As `GET /admin/sessions` says it.")],
        )
    },
    "/admin/upstreams": {
        "get": _operation(
            "upstreams",
            "The upstreams: what probes have found, and the circuit breakers.",
            {
                "200": _answer(
                    "All of them.",
                    _object({"upstreams": {"type": "array", "items": _UPSTREAM}, "unanswered": _UNANSWERED}),
                ),
                **_wrong(),
            },
        )
    },
    "/openapi.json": {
        "get": _operation(
            "openapi", "This description.", {"200": _answer("OpenAPI 3.1.", {"type": "object"}), **_wrong()}
        )
    },
}


def description() -> dict[str, Any]:
    """The whole document."""
    error = {"$ref": "#/components/schemas/Error"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "trio-ws-gateway: the operator's door",
            "version": __version__,
            "description": "Served at `ADMIN_LISTEN`. Every request needs `ADMIN_TOKEN`, where that is set.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "http://127.0.0.1:8081"}],
        "security": [{"credential": []}],
        "paths": _PATHS,
        "components": {
            "securitySchemes": {"credential": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _object({"error": {"type": "string"}})},
            "responses": {
                "NoCredential": _answer("The credential is missing or wrong.", error),
                "WebPage": _answer("There is no credential, and the request looks like one of a web page.", error),
            },
        },
    }
