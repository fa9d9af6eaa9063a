"""The data cards of the exports over HTTP, to this app's own windows only; a card may load nothing and run nothing."""

from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chips_core.errors import ChipsError
from chips_core.views.exporting import card_of
from pages.parts.images import same_origin

PATH = "/data-card"
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}


def card_url(name: str) -> str:
    """Returns the address of an export's data card on this server."""
    return f"{PATH}/{name}"


def card_route() -> Route:
    """Returns the route that serves the cards."""
    return Route(PATH + "/{name}", _serve, methods=["GET"])


async def _serve(request: Request) -> Response:
    if not same_origin(request.headers):
        return Response("Data cards are for this app's own windows.", status_code=403)
    try:
        data = await run_in_threadpool(card_of, request.path_params["name"])
    except ChipsError:
        return Response("There is no data card of that name.", status_code=404, media_type="text/plain")
    return Response(data, media_type="text/html", headers=dict(HEADERS))
