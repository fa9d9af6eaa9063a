"""The pool map in a real browser: drawing, recolouring, tips as plain text, and what happens without WebGL2."""

import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import answers, still

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
PAIRS = 20_000
WITHOUT_WEBGL = """
const get = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return kind.includes("webgl") ? null : get.call(this, kind, ...rest);
};
"""
LOSE = """node => new Promise((done) => {
  const said = () => done(node.getRootNode().querySelector(".message").textContent);
  node.addEventListener("webglcontextlost", () => setTimeout(said, 0));
  node.getContext("webgl2").getExtension("WEBGL_lose_context").loseContext();
})"""
APP = f"""
import numpy as np
import streamlit as st
from pages.parts.pool_map import MapTip, Shown, colour_values, pool_map, take_event

@st.cache_resource
def pool():
    xy = np.random.default_rng(0).normal(size=({PAIRS}, 2)).astype(np.float32)
    xy.setflags(write=False)
    return xy

xy, state = pool(), st.session_state
state.setdefault("chosen", np.zeros(len(xy), bool))
state.setdefault("colour", 1)
state.setdefault("brushed", None)
event = take_event(key="map", xy=xy)
if event is not None:
    state.chosen = event.applied_to(state.chosen)
    state.colour = event.number or state.colour
    state.brushed = event.range if event.kind == "range" else state.brushed
score = xy[:, 0] * state.colour
visible = score >= state.brushed[0] if state.brushed and state.brushed[0] is not None else None
names = np.where(score > 0, "<img src=x onerror=window.harm=1>", "left")
colouring = colour_values(names, "categorical", title="<b>side</b>") if state.colour == 3 else colour_values(
    score, "diverging", title="influence")
tip = lambda row: MapTip(f"pair {{row}}", "<img src=x onerror=window.harm=2> **caption**")
pool_map(xy=xy, colouring=colouring, key="map", selected=state.chosen, visible=visible,
         shown=Shown(height=420, tip_for=tip, brushed=state.brushed))
st.text(f"chosen {{int(state.chosen.sum())}} last {{event.kind if event else '-'}}")
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Runs the page above on a free port of this machine and yields its address."""
    folder = tmp_path_factory.mktemp("map")
    (folder / "page.py").write_text(APP)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--server.address=127.0.0.1", f"--server.port={port}", "--server.headless=true"]
    options += ["--browser.gatherUsageStats=false", "--server.fileWatcherType=none"]
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(folder / "page.py"), *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        answers(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=10)


def opened(chromium, address, script=""):
    """Returns a page, and a list that collects what goes wrong on it."""
    page = chromium.new_page(viewport={"width": 1000, "height": 800})
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    if script:
        page.add_init_script(script)
    page.goto(address)
    return page, wrong


def drawn(page):
    page.wait_for_selector(f".stage[data-drawn='{PAIRS}']", timeout=40_000)
    return still(page.locator(".overlay"))


def circle(page, box, radius):
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x + radius, y)
    page.mouse.down()
    for step in range(1, 24):
        turn = 2 * math.pi * step / 24
        page.mouse.move(x + radius * math.cos(turn), y + radius * math.sin(turn))
    page.mouse.up()


def chosen(page, last):
    line = page.get_by_text(f"last {last}")
    line.wait_for(timeout=20_000)
    return int(line.inner_text().split()[1])


def test_map__lasso_recolour_and_clear_without_remounting(chromium, address):
    page, wrong = opened(chromium, address)
    box = drawn(page)
    page.locator(".stage").evaluate("node => { node.marked = true }")
    page.locator(".stage").focus()
    page.keyboard.press("l")
    circle(page, box, 60)
    inside = chosen(page, "lasso")
    assert 0 < inside < PAIRS
    page.locator(".status b", has_text=f"{inside:,} selected").wait_for(timeout=20_000)
    received = []
    page.on("websocket", lambda _: pytest.fail("the connection was lost"))
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.webSocketFrameReceived", lambda frame: received.append(len(frame["response"]["payloadData"])))
    page.locator(".stage").focus()
    page.keyboard.press("+")
    page.keyboard.press("2")
    assert chosen(page, "colour") == inside
    page.wait_for_timeout(400)
    assert sum(received) < 1.4 * (PAIRS + 20_000)  # base64 of one byte a pair and the words; the points stay away
    assert page.locator(".stage").evaluate("node => node.marked === true")
    assert page.locator(".overlay").get_attribute("data-tool") == "lasso"
    page.keyboard.press("Escape")
    assert chosen(page, "clear") == 0
    page.locator(".live", has_text="0 of 20,000 pairs selected").wait_for(state="attached", timeout=20_000)
    assert wrong == []


def test_map__box_by_shift_and_pick_by_click(chromium, address):
    page, wrong = opened(chromium, address)
    box = drawn(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.keyboard.down("Shift")
    page.mouse.move(x - 50, y - 40)
    page.mouse.down()
    page.mouse.move(x, y)
    page.mouse.move(x + 50, y + 40)
    page.mouse.up()
    page.keyboard.up("Shift")
    assert chosen(page, "box") > 100
    page.mouse.click(x, y)
    assert chosen(page, "pick") == 1
    assert wrong == []


def test_map__text_of_the_data_is_never_markup(chromium, address):
    page, _ = opened(chromium, address)
    box = drawn(page)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.locator(".tip").wait_for(state="visible", timeout=20_000)
    assert "<img src=x" in page.locator(".tip span").inner_text()
    page.locator(".stage").focus()
    page.keyboard.press("3")
    page.locator(".names").wait_for(timeout=20_000)
    assert "<img src=x" in page.locator(".names").inner_text()
    assert page.locator(".legend strong").inner_text() == "<b>side</b>"
    page.wait_for_timeout(300)
    assert page.evaluate("window.harm") is None


def test_map__brush_greys_out_and_says_so(chromium, address):
    page, _ = opened(chromium, address)
    drawn(page)
    scale = still(page.locator(".scale canvas"))
    page.mouse.move(scale["x"] + scale["width"] / 2, scale["y"] + 20)
    page.mouse.down()
    page.mouse.move(scale["x"] + scale["width"] * 0.8, scale["y"] + 20)
    page.mouse.move(scale["x"] + scale["width"] * 1.2, scale["y"] + 20)
    page.mouse.up()
    page.locator(".status span", has_text="greyed out").wait_for(timeout=20_000)
    greyed = int(page.locator(".status span").inner_text().split()[0].replace(",", ""))
    assert abs(greyed - PAIRS / 2) < PAIRS / 20


def test_map__without_webgl_the_simple_map_comes(chromium, address):
    page, wrong = opened(chromium, address, WITHOUT_WEBGL)
    page.get_by_text("This is the simple map").wait_for(timeout=40_000)
    plot = page.locator(".js-plotly-plot")
    plot.wait_for()
    page.wait_for_timeout(1000)
    circle(page, plot.bounding_box(), 60)
    assert 0 < chosen(page, "lasso") < PAIRS
    assert wrong == []


def test_map__lost_context_gives_way_to_the_simple_map(chromium, address):
    page, _ = opened(chromium, address)
    drawn(page)
    assert "Trying to get it back" in page.locator(".points").evaluate(LOSE)
    page.get_by_text("This is the simple map").wait_for(timeout=20_000)
