"""Serves GET /api/v1/batches from PostgreSQL: an application server in full.

It authenticates the request, tells the database who asks, and passes the query
string in and the response out as they are. Debian: python3-starlette,
python3-uvicorn, python3-asyncpg. Start it with

    BATCHES_DSN=postgresql:///demo BATCHES_TOKENS='{"secret-1": "user-1"}' \
        python3 examples/server.py

where the role of BATCHES_DSN was granted `set on parameter batches.user_id`, and
BATCHES_TOKENS maps bearer tokens to users; a real server verifies tokens instead.
With BATCHES_EXTENDED=on, query strings can give what get_all_batches() takes beyond the
endpoint. With Citus, BATCHES_SCHEMA is the schema that distribute_tables() makes.
It listens on port 8000 of this machine, or on BATCHES_PORT. Clients may send as slowly
as they like: let those of the internet come through a proxy that has a limit.
"""

import asyncio
import contextlib
import http
import json
import logging
import os

import asyncpg
import h11
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

USERS = json.loads(os.environ.get("BATCHES_TOKENS", "{}"))
EXTENDED = os.environ.get("BATCHES_EXTENDED", "off") == "on"
SCHEMA = os.environ.get("BATCHES_SCHEMA", "batches")
POOL_TIMEOUT = 5  # seconds to wait for a connection that is free
MAX_HEAD = 512 * 1024  # a query string that the endpoint reads, and the headers

logger = logging.getLogger("uvicorn.error")


def authenticate(request):
    """The user of the request's bearer token, or an empty string."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return USERS.get(token.strip(), "") if scheme.lower() == "bearer" else ""


@contextlib.asynccontextmanager
async def free_connection(pool):
    try:
        connection = await pool.acquire(timeout=POOL_TIMEOUT)
    except asyncio.TimeoutError:
        if pool.get_size() - pool.get_idle_size() < pool.get_max_size():
            raise  # a new connection was not made in time
        raise asyncpg.TooManyConnectionsError("no connection of the pool is free") from None
    try:
        yield connection
    finally:
        await pool.release(connection)


async def get_all_batches(request):
    # Other servers than this one's pass on what is not ASCII: it is read as FastAPI does.
    query_string = request.scope["query_string"].decode("latin-1")
    # Empty for a client that has nothing yet, and gets the tag with its first page.
    if_none_match = ", ".join(request.headers.getlist("if-none-match"))
    async with free_connection(request.app.state.pool) as connection:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            # Only for this transaction: the connection goes back without a user.
            await connection.execute(
                "select set_config('batches.user_id', $1, true)", authenticate(request)
            )
            response = await connection.fetchrow(
                "select status, headers, body"
                f" from {SCHEMA}.http_get_all_batches($1, $2, $3)",
                query_string,
                EXTENDED,
                if_none_match,
            )
    return Response(
        response["body"],
        status_code=response["status"],
        headers=json.loads(response["headers"]),
        media_type=None if response["body"] is None else "application/json",
    )


#
# Errors, as the API words them. Its Python client repeats a request after a 500, 502
# or 504, and not after a 503: repeating would keep the pool full.
#


def error_body(status, description):
    return json.dumps(
        {
            "status": "error",
            "message": http.HTTPStatus(status).phrase,
            "code": str(status),
            "data": {"description": description},
        },
        separators=(",", ":"),
    ).encode()


def error(status, description, headers=None):
    return Response(
        error_body(status, description), status, headers, media_type="application/json"
    )


def failure(status, description, headers=None):
    """A handler of exceptions that says this."""

    async def respond(request, exception):
        logger.warning("%s %r", description, exception)
        return error(status, description, headers)

    return respond


async def refuse(request, refusal):
    description = {
        404: "There is nothing here but /api/v1/batches.",
        405: "The method is not GET.",
    }.get(refusal.status_code, refusal.detail)
    return error(refusal.status_code, description, refusal.headers)


lost = failure(502, "The connection to the database was lost.")
full = failure(503, "All connections to the database are in use.", {"Retry-After": "1"})
late = failure(504, "The database did not answer in time.")

EXCEPTION_HANDLERS = {
    HTTPException: refuse,
    OSError: lost,
    asyncpg.PostgresConnectionError: lost,
    asyncpg.InterfaceError: lost,
    asyncpg.InternalClientError: lost,  # it broke before a statement was answered
    asyncpg.AdminShutdownError: lost,
    asyncpg.CrashShutdownError: lost,
    asyncpg.CannotConnectNowError: lost,
    asyncpg.TooManyConnectionsError: full,
    asyncpg.ProtocolViolationError: full,  # what pgbouncer says then
    asyncpg.QueryCanceledError: late,
    asyncio.TimeoutError: late,
    Exception: failure(500, "The database has failed."),
}


class Protocol(H11Protocol):
    """HTTP as uvicorn reads it, with longer query strings, and a 400 in JSON."""

    refused = False

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.conn = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    def data_received(self, data):
        # The rest of what is refused is read and dropped: else the client, which is
        # still sending it, might not see the answer.
        if not self.refused:
            super().data_received(data)

    def send_400_response(self, msg):
        body = error_body(
            400, f"{msg} Or the request line and headers have more than {MAX_HEAD} bytes."
        )
        self.refused = True
        if self.cycle:
            self.cycle.disconnected = True  # no other answer follows
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        self.transport.write_eof()
        self.loop.call_later(5, self.transport.close)


#
# The application
#


@contextlib.asynccontextmanager
async def lifespan(application):
    async with asyncpg.create_pool(
        os.environ["BATCHES_DSN"],
        min_size=1,
        max_size=8,
        command_timeout=30,
        # A pooler such as pgbouncer gives each transaction another connection, which
        # does not know what was prepared on the last one.
        statement_cache_size=0,
    ) as pool:
        application.state.pool = pool
        yield


route = Route("/api/v1/batches", get_all_batches)
route.methods = {"GET"}  # Starlette would answer HEAD, too
app = Starlette(routes=[route], lifespan=lifespan, exception_handlers=EXCEPTION_HANDLERS)
app.router.redirect_slashes = False


def serve(application):
    port = int(os.environ.get("BATCHES_PORT", 8000))
    uvicorn.run(application, port=port, http=Protocol, ws="none", access_log=False)


if __name__ == "__main__":
    serve(app)
