"""What the app promises on every page: errors without details, sessions apart, images through one guarded door."""

import asyncio
import io
import logging
import re
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from starlette.requests import Request
from streamlit.testing.v1 import AppTest

from chips_core.store import Pool
from chips_core.views.images import image_bytes
from pages.parts import images

sys.path.insert(0, str(Path(__file__).parents[1] / "views"))
from map_pools import mapped_pool
from review_pools import plain_pool

ROOT = Path(__file__).parents[2]
CANARY = "CANARY^JANE-4711"


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """A pool whose images carry a patient's name beside the pixels."""
    made = plain_pool(tmp_path / "pool")
    note = PngImagePlugin.PngInfo()
    note.add_text("Patient", CANARY)
    exif = Image.Exif()
    exif[0x010E] = CANARY
    for path in (tmp_path / "pool-images").iterdir():
        Image.open(path).save(path, pnginfo=note, exif=exif)
        assert CANARY.encode() in path.read_bytes()
    return made


def asked(pool_id: str, row: int, *, size: str = "96", site: str | None = "same-origin") -> tuple[int, bytes]:
    """Returns the status and the body of the answer to a browser that asks for an image."""
    headers = [] if site is None else [(b"sec-fetch-site", site.encode())]
    request = Request(
        {
            "type": "http", "method": "GET", "path": "/", "headers": headers,
            "query_string": f"size={size}".encode(), "path_params": {"pool": pool_id, "row": row},
        }
    )  # fmt: skip
    answer = asyncio.run(images._serve(request))
    return answer.status_code, bytes(answer.body)


def test_k9__images_are_encoded_anew_without_what_lies_beside_the_pixels(pool: Pool) -> None:
    images.announce(pool.id, pool.path)
    status, body = asked(pool.id, 1)
    assert status == 200
    assert Image.open(io.BytesIO(body)).format == "JPEG"
    assert CANARY.encode() not in body


@pytest.mark.parametrize(
    ("change", "status"),
    [({"site": "cross-site"}, 403), ({"site": "same-site"}, 403), ({"site": "none"}, 200), ({"size": "97"}, 404)],
)
def test_k9__images_are_for_our_own_pages_in_our_own_sizes(pool: Pool, change: dict[str, str], status: int) -> None:
    images.announce(pool.id, pool.path)
    assert asked(pool.id, 1, **change)[0] == status


def test_k9__no_folder_can_be_named_and_no_row_guessed(pool: Pool) -> None:
    images.announce(pool.id, pool.path)
    assert asked("../../etc", 0)[0] == 404
    assert asked(pool.id, 999) == (200, images.NO_IMAGE)
    assert asked(pool.id, 0) == (200, images.NO_IMAGE)  # b0 is broken


def test_image_bytes__another_pool_in_the_same_folder_shows_its_own_images(tmp_path: Path) -> None:
    first = plain_pool(tmp_path / "pool")
    before = image_bytes(first.path, 2, size=96)
    shutil.rmtree(tmp_path / "pool")
    shutil.rmtree(tmp_path / "pool-images")
    plain_pool(tmp_path / "pool", captions=("other",) * 6)
    Image.new("L", (32, 32), 250).save(tmp_path / "pool-images" / "p1.png")
    assert image_bytes(first.path, 2, size=96) != before


def test_k5__a_bug_is_one_sentence_and_an_id_that_the_log_knows(caplog: pytest.LogCaptureFixture) -> None:
    def script(canary: str) -> None:
        from pages.parts.mishap import say_mishap

        try:
            raise ValueError(f"/home/jane/{canary}.png: a sentence of the caption")
        except ValueError as error:
            say_mishap(error)

    with caplog.at_level(logging.ERROR):
        at = AppTest.from_function(script, args=(CANARY,)).run()
    told = at.error[0].value
    name = re.search(r"Error ([0-9a-f]{6}) is in the app's log", told)
    assert name
    assert name[1] in caplog.text
    assert "ValueError" in caplog.text
    for text in (told, caplog.text):
        assert CANARY not in text
        assert "caption" not in text
    assert "Traceback" not in told


def test_k7__two_sessions_have_their_own_filters_and_selections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = mapped_pool(tmp_path / "pool")
    monkeypatch.setenv("CHIPS_POOL", str(pool.path))
    monkeypatch.chdir(ROOT)

    def script(path: str) -> None:
        import runpy

        from pages.parts.opened import open_wanted

        open_wanted()
        runpy.run_path(path)

    one, two = (
        AppTest.from_function(script, args=(str(ROOT / "pages" / "map.py"),), default_timeout=60).run()
        for _ in range(2)
    )
    one.session_state["map"] = {"event": {"id": "a", "kind": "range", "range": [0.5, None]}}
    one.run()
    one.button(key="selection_all").click().run()
    two.run()
    filters, selection = f"map-{pool.id}-filters", f"selection-{pool.id}"
    assert one.session_state[filters].count == 1
    assert one.session_state[selection].count == 2
    assert filters not in two.session_state
    assert two.session_state[selection].count == 0


def test_k2__nothing_is_uploaded() -> None:
    """Data comes by paths under the roots; a widget that takes files would need its own cases of K2."""
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "pages").rglob("*.py")]
    assert not any("file_uploader" in text or "chat_input" in text for text in pages)


def test_k12__says_what_has_to_stand_before_a_shared_app() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "proxy with a login" in text
    assert "X-Frame-Options" in text
