"""The address of a pair's own view, for links from any page."""

from urllib.parse import urlencode

from chips_core.store import Pool


def pair_address(pool: Pool, pair_id: str) -> str:
    """Returns the address of a pair's own view on this server."""
    return "/pair?" + urlencode({"pool": pool.path.name, "pair": pair_id})
