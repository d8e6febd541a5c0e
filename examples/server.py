"""Serves GET /api/v1/batches from PostgreSQL: an application server in full.

It authenticates the request, tells the database who asks, and passes the query
string in and the response out as they are. Debian: python3-starlette,
python3-uvicorn, python3-asyncpg. Start it with

    BATCHES_DSN=postgresql:///demo BATCHES_TOKENS='{"secret-1": "user-1"}' \
        python3 -m uvicorn --app-dir examples server:app

where the role of BATCHES_DSN was granted `set on parameter batches.user_id`, and
BATCHES_TOKENS maps bearer tokens to users; a real server verifies tokens instead.
"""

import contextlib
import json
import os

import asyncpg
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

USERS = json.loads(os.environ.get("BATCHES_TOKENS", "{}"))


def authenticate(request):
    """The user of the request's bearer token, or an empty string."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return USERS.get(token.strip(), "") if scheme.lower() == "bearer" else ""


async def get_all_batches(request):
    # What is not ASCII should be percent-encoded; if not, it is read as FastAPI does.
    query_string = request.scope["query_string"].decode("latin-1")
    async with request.app.state.pool.acquire() as connection:
        async with connection.transaction(readonly=True):
            # Only for this transaction: the connection goes back without a user.
            await connection.execute(
                "select set_config('batches.user_id', $1, true)", authenticate(request)
            )
            response = await connection.fetchrow(
                "select status, headers, body from batches.http_get_all_batches($1)",
                query_string,
            )
    return Response(
        response["body"],
        status_code=response["status"],
        headers=json.loads(response["headers"]),
        media_type="application/json",
    )


@contextlib.asynccontextmanager
async def lifespan(application):
    async with asyncpg.create_pool(
        os.environ["BATCHES_DSN"], min_size=1, max_size=8, command_timeout=30
    ) as pool:
        application.state.pool = pool
        yield


app = Starlette(routes=[Route("/api/v1/batches", get_all_batches)], lifespan=lifespan)
