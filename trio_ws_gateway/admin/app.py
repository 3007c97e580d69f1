"""What an operator can ask for and do, over HTTP: a Starlette application in front of ``control``.

Every request says in JSON what it wants and is answered in JSON; what is wrong with it is ``error``. ``openapi``
describes all of it. Bodies are bounded in size and time. Who may come in is ``door``'s to say.
"""

import json
import re
import time
from collections.abc import Callable
from contextlib import aclosing

import structlog
import trio
from attrs import asdict
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from trio_ws_gateway.admin.door import Door
from trio_ws_gateway.admin.openapi import LIMIT_DEFAULT, LIMIT_MAX, description
from trio_ws_gateway.auth.revocation import Revocation, Terms
from trio_ws_gateway.control import Control

_NUMBER = re.compile("[1-9][0-9]{0,9}")
BODY_MAX = 16 * 1024
BODY_SECONDS = 5.0
SCOPES = {None: "this group only", True: "all gateways", False: "this group; all gateways when Redis is back"}


def application(
    control: Control,
    terms: Terms,
    *,
    credential: str | None,
    log: structlog.typing.FilteringBoundLogger,
    clock: Callable[[], float] = time.time,
) -> Starlette:
    """The application. ``terms``: of revocations; ``clock``: in seconds since 1970."""

    async def revoke(request: Request) -> Response:
        body = await _json(request)
        try:
            revocation = Revocation.parse(body, clock(), terms)
        except ValueError as error:
            raise HTTPException(422, f"the body {error}") from None
        outcome = await control.revoke(revocation)
        log.info("revoked", **revocation.to_json(), **asdict(outcome))
        if not outcome.kept:
            raise HTTPException(507, f"{outcome.cut} live sessions cut, but there is no room to remember it")
        return JSONResponse(
            {
                "revoked": revocation.to_json(),
                "cut": outcome.cut,
                "unanswered": outcome.silent,
                "scope": SCOPES[outcome.told],
            }
        )

    async def sessions(request: Request) -> Response:
        query = request.query_params
        if unknown := query.keys() - {"after", "limit", "sub", "protocol"}:
            raise HTTPException(422, f"the query has a parameter that means nothing here: {min(unknown)[:40]!r}")
        limit = query.get("limit", str(LIMIT_DEFAULT))
        if not (_NUMBER.fullmatch(limit) and int(limit) <= LIMIT_MAX):
            raise HTTPException(422, f"the query has a limit that is no number from 1 to {LIMIT_MAX}")
        found = await control.sessions(
            after=query.get("after", ""), limit=int(limit), sub=query.get("sub"), protocol=query.get("protocol")
        )
        more = len(found.items) == int(limit)
        return JSONResponse(
            {
                "sessions": found.items,
                "next": found.items[-1]["id"] if more else None,
                "unanswered": found.silent,
            }
        )

    async def cut(request: Request) -> Response:
        session = request.path_params["id"]
        if not await control.cut(session):
            raise HTTPException(404, "no session of this id lives here")
        log.info("cut by operator", session=session)
        return Response(status_code=204)

    async def upstreams(_: Request) -> Response:
        found = await control.upstreams()
        return JSONResponse({"upstreams": found.items, "unanswered": found.silent})

    async def openapi(_: Request) -> Response:
        return JSONResponse(description())

    def wrong(_: Request, error: Exception) -> Response:
        match error:
            case HTTPException(detail=detail, status_code=status, headers=headers):
                return JSONResponse({"error": detail}, status, headers)
        raise error

    def fault(_: Request, error: Exception) -> Response:
        log.error("fault", exc_info=error)
        return JSONResponse({"error": "a mistake of the gateway's own, which is in its log"}, 500)

    return Starlette(
        routes=[
            Route("/admin/revoke", revoke, methods=["POST"]),
            Route("/admin/sessions", sessions, methods=["GET"]),
            Route("/admin/sessions/{id}", cut, methods=["DELETE"]),
            Route("/admin/upstreams", upstreams, methods=["GET"]),
            Route("/openapi.json", openapi, methods=["GET"]),
        ],
        middleware=[Middleware(Door, credential=credential)],
        exception_handlers={HTTPException: wrong, Exception: fault},
    )


async def _json(request: Request) -> object:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "the body must be application/json")
    body = bytearray()
    try:
        with trio.fail_after(BODY_SECONDS):
            async with aclosing(request.stream()) as parts:
                async for part in parts:
                    body += part
                    if len(body) > BODY_MAX:
                        raise HTTPException(413, f"the body is longer than {BODY_MAX} bytes", {"Connection": "close"})
        parsed: object = json.loads(body)
    except trio.TooSlowError:
        raise HTTPException(408, "the body took too long", {"Connection": "close"}) from None
    except ClientDisconnect:
        raise HTTPException(400, "the body was not finished") from None
    except (ValueError, RecursionError):
        raise HTTPException(422, "the body is no JSON") from None
    return parsed
