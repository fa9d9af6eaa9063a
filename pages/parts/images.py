"""The images of pairs over HTTP: by pool id and row number, re-encoded by us, to this app's own pages only."""

from collections.abc import Mapping
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chips_core.errors import ChipsError
from chips_core.views.images import image_bytes

PATH = "/pair-image"
SIZES = (96, 192, 384, 1024)
HEADERS = {
    "Cache-Control": "private, max-age=600",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'",
}
NO_IMAGE = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96"><rect width="96" height="96" fill="#8884"/>'
    b'<path d="M24 24 72 72M72 24 24 72" stroke="#888" stroke-width="3"/></svg>'
)
_pools: dict[str, Path] = {}  # pool id -> folder, filled when a page opens a pool: a request can name no other folder


def announce(pool_id: str, folder: Path) -> None:
    """Lets the images of this pool be asked for."""
    _pools[pool_id] = folder


def image_url(pool_id: str, row: int, *, size: int = 192) -> str:
    """Returns the address of a pair's image on this server; it names no patient."""
    return f"{PATH}/{pool_id}/{row}?size={size}"


def image_route() -> Route:
    """Returns the route that serves the images."""
    return Route(PATH + "/{pool}/{row:int}", _serve, methods=["GET"])


async def _serve(request: Request) -> Response:
    if not same_origin(request.headers):
        return Response("Images are for this app's own pages.", status_code=403)
    folder = _pools.get(request.path_params["pool"])
    size = request.query_params.get("size", "192")
    if folder is None or size not in {str(s) for s in SIZES}:
        return Response("No such image.", status_code=404)
    try:
        data = await run_in_threadpool(image_bytes, folder, request.path_params["row"], size=int(size))
    except ChipsError:
        return Response(NO_IMAGE, media_type="image/svg+xml", headers=HEADERS)
    return Response(data, media_type="image/jpeg", headers=HEADERS)


def same_origin(headers: Mapping[str, str]) -> bool:
    """Whether the browser says that one of our own pages asks (or, for a person opening the image alone, nobody)."""
    return headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
