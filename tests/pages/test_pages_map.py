"""The Map page: its states, and that a selection outlives recolouring, filters, reloads and restarts."""

import json
import secrets
import shutil
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from chips_core.store import Pool
from chips_core.store.review import Review

sys.path.insert(0, str(Path(__file__).parents[1] / "views"))
from map_pools import lay_out, mapped_pool
from review_pools import encode, plain_pool

ROOT = Path(__file__).parents[2]
SECONDS = 60
LEFT = [[0, 0], [0.4, 0], [0.4, 1], [0, 1]]  # p0 and p1 of the line, squeezed to 0.03, 0.265, 0.5, …


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return mapped_pool(tmp_path_factory.mktemp("pages") / "pool").path


@pytest.fixture
def pool(made, tmp_path):
    """A mapped pool of the test's own."""
    shutil.copytree(made, tmp_path / "pool")
    shutil.copytree(made.parent / "pool-images", tmp_path / "pool-images")
    return tmp_path / "pool"


@pytest.fixture(autouse=True)
def _app_folder(monkeypatch):
    monkeypatch.chdir(ROOT)


def opened(monkeypatch, folder, **query):
    """Runs the page as the navigation would, without its bar: a new browser window."""
    monkeypatch.setenv("CHIPS_POOL", str(folder))
    monkeypatch.setenv("CHIPS_ROOTS", str(folder.parent))

    def script(path: str) -> None:
        import runpy

        from pages.parts.opened import open_wanted

        open_wanted()
        runpy.run_path(path)

    at = AppTest.from_function(script, args=(str(ROOT / "pages" / "map.py"),), default_timeout=SECONDS)
    for name, value in query.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception
    return at


def acts(at, **event):
    """Does something on the map."""
    at.session_state["map"] = {"event": {"id": secrets.token_hex(4), **event}}
    at.run()
    assert not at.exception


def of(at, name):
    """What the session remembers of the page."""
    return at.session_state[f"map-{Pool.open(folder_of(at)).id}-{name}"]


def folder_of(at):
    return at.session_state["pool_state"].folder


def chosen(at):
    """The rows that are selected."""
    return at.session_state[f"selection-{Pool.open(folder_of(at)).id}"].mask.nonzero()[0].tolist()


def told(at):
    """The words that the map in the browser was told last."""
    return json.loads(bytes(_words_of(at.main)).split(b"}", 1)[1].decode())


def _words_of(node):
    proto = getattr(node, "proto", None)
    if proto is not None and node.type == "bidi_component" and b'"channel": "words"' in proto.bytes:
        return proto.bytes[4:]
    return next((found for child in getattr(node, "children", {}).values() if (found := _words_of(child))), None)


def lit(at):
    return of(at, "memo-lit")[1].nonzero()[0].tolist()


def said(at):
    kinds = ("title", "text", "info", "error", "warning", "success")
    return "\n".join(str(element.value) for kind in kinds for element in getattr(at, kind))


def press(at, key):
    at.button(key=key).click().run()
    assert not at.exception


def test_lasso__selects_and_is_found_again_in_a_new_window(pool, monkeypatch):
    at = opened(monkeypatch, pool)
    acts(at, kind="lasso", polygon=LEFT)
    assert chosen(at) == [0, 1]
    address = at.query_params["selection"]
    address = address[0] if isinstance(address, list) else address
    assert address.startswith("unsaved-")
    again = opened(monkeypatch, pool, selection=address)
    assert chosen(again) == [0, 1]


def test_selection__survives_colours_filters_and_a_second_look(pool, monkeypatch):
    at = opened(monkeypatch, pool)
    acts(at, kind="lasso", polygon=LEFT)
    acts(at, kind="colour", number=2)
    assert of(at, "colour") == "score.delta_loss_if_removed"
    acts(at, kind="colour", number=9)  # there is no ninth
    acts(at, kind="range", range=[0.3, None])
    assert lit(at) == [0, 4, 5]
    acts(at, kind="pick", row=3)  # the fourth place: p3; looking at a pair changes no selection
    assert of(at, "pair") == 3
    at.run()
    assert chosen(at) == [0, 1]
    acts(at, kind="range", range=None)
    assert lit(at) == [0, 1, 2, 3, 4, 5]


def test_region__takes_only_what_is_lit_and_leaves_pairs_without_a_place(pool, monkeypatch):
    at = opened(monkeypatch, pool)
    press(at, "selection_all")
    assert chosen(at) == [0, 1, 2, 3, 4, 5]
    acts(at, kind="range", range=[0.15, None])  # p0 and p5 are greyed out
    acts(at, kind="lasso", polygon=LEFT, mode="remove")
    assert chosen(at) == [0, 2, 3, 4, 5]
    acts(at, kind="clear")
    assert chosen(at) == []


def test_legend__switches_names_off(pool, monkeypatch):
    at = opened(monkeypatch, pool)
    acts(at, kind="colour", number=3)  # labels: a, b, and one pair without
    acts(at, kind="category", codes=[0, 255])
    assert lit(at) == [3, 4]
    assert of(at, "filters").off == {"pair.label": frozenset({"a", ""})}
    acts(at, kind="category", codes=[])
    assert lit(at) == [0, 1, 2, 3, 4, 5]


def test_filters__by_the_boxes_and_the_slider(pool, monkeypatch):
    at = opened(monkeypatch, pool)
    at.multiselect(key="filter_pair.label").set_value(["b"]).run()
    assert lit(at) == [3, 4]
    at.slider(key="filter_range").set_range(0.5, 0.8995).run()
    assert lit(at) == [4]
    press(at, "selection_all")
    assert chosen(at) == [4]
    press(at, "filters_none")
    assert lit(at) == [0, 1, 2, 3, 4, 5]
    assert chosen(at) == [4]


def test_changes__invert_add_remove_keep_and_back(pool, monkeypatch):
    at = opened(monkeypatch, pool)
    acts(at, kind="lasso", polygon=LEFT)
    press(at, "selection_invert")
    assert chosen(at) == [2, 3, 4, 5]
    at.multiselect(key="filter_pair.label").set_value(["b"]).run()
    press(at, "selection_drop")
    assert chosen(at) == [2, 5]
    press(at, "selection_add")
    assert chosen(at) == [2, 3, 4, 5]
    press(at, "selection_only")
    assert chosen(at) == [3, 4]
    press(at, "selection_back")
    press(at, "selection_back")
    assert chosen(at) == [2, 5]
    press(at, "selection_clear")
    assert chosen(at) == []
    press(at, "selection_back")
    assert chosen(at) == [2, 5]


def test_saved__named_renamed_deleted_and_taken_back(pool, monkeypatch):
    at = opened(monkeypatch, pool)
    acts(at, kind="lasso", polygon=LEFT)
    at.text_input(key="selection_name").set_value("odd *ones*")
    next(b for b in at.button if b.label == "Save").click().run()
    assert not at.exception
    assert at.toast[0].value == r"Saved\: 2 pairs under the name 'odd \*ones\*'\."
    again = opened(monkeypatch, pool, selection="odd *ones*")
    assert chosen(again) == [0, 1]
    again.text_input(key="selection_new_name").set_value("even").run()
    press(again, "selection_rename")
    assert opened(monkeypatch, pool, selection="even").query_params["selection"] in ("even", ["even"])
    press(again, "selection_delete")
    assert chosen(again) == [0, 1]  # the pairs stay selected
    assert "no selection of that name" in said(opened(monkeypatch, pool, selection="even"))
    press(again, "selection_undo")
    assert chosen(opened(monkeypatch, pool, selection="even")) == [0, 1]


@pytest.mark.parametrize("junk", ["unsaved-../../etc", "<script>alert(1)</script>", "$a$", "x" * 3000])
def test_k8__junk_in_the_address_is_a_message(pool, monkeypatch, junk):
    at = opened(monkeypatch, pool, selection=junk)
    assert chosen(at) == []
    assert at.error


def test_search__greys_out_selects_and_ends(pool, monkeypatch):
    at = opened(monkeypatch, pool)
    at.text_input(key="map_query").set_value("ring").run()
    assert "2 captions hold every word." in said(at)
    assert lit(at) == [2, 3]
    press(at, "hits_select")
    assert chosen(at) == [2, 3]
    press(at, "hits_end")
    assert lit(at) == [0, 1, 2, 3, 4, 5]
    at.text_input(key="map_query").set_value("zebra").run()
    assert "No caption holds every word." in said(at)
    assert lit(at) == []


def test_search__by_meaning_without_the_model_says_so(pool, monkeypatch):
    at = opened(monkeypatch, pool)
    at.session_state["map_way"] = "meaning"
    at.text_input(key="map_query").set_value("a ring").run()
    assert not at.exception
    assert "do not say which model" in said(at)
    assert lit(at) == [0, 1, 2, 3, 4, 5]


def test_pair__similar_and_into_the_selection(pool, monkeypatch):
    at = opened(monkeypatch, pool)
    acts(at, kind="pick", row=0)
    press(at, "pair_toggle")
    assert chosen(at) == [0]
    press(at, "pair_similar_images")
    assert of(at, "hits").rows.tolist()[:2] == [1, 2]


def test_pair__named_in_the_address_is_looked_at_once_and_ringed(pool, monkeypatch):
    at = opened(monkeypatch, pool, pair="p5")
    assert (of(at, "view"), of(at, "pair")) == ("Pair", 5)
    assert told(at)["looked"] == 4  # its place: p4 has none
    assert "pair" not in at.query_params
    acts(at, kind="pick", row=0)
    assert told(at)["looked"] == 0
    acts(at, kind="lasso", polygon=LEFT)
    assert told(at)["looked"] is None  # several are looked at now
    junk = opened(monkeypatch, pool, pair="../../nobody")
    assert told(junk)["looked"] is None


def test_verdict__on_all_selected_with_preview_and_undo(pool, monkeypatch):
    at = opened(monkeypatch, pool)
    acts(at, kind="lasso", polygon=LEFT)
    press(at, "selection_verdict")
    assert "2 pairs: a 2." in said(at)
    at.selectbox(key="judge_verdict").set_value("m")
    at.checkbox(key="judge_sure").check()
    press(at, "selection_verdict")  # AppTest closes a dialog at every run; in a browser it stays
    at.selectbox(key="judge_verdict").set_value("m")
    at.checkbox(key="judge_sure").check()
    at.button(key="selection_verdict").click()
    press(at, "judge_save")
    with Review.open(pool) as review:
        table = review.current_verdicts()
    assert dict(zip(table["pair_id"], table["verdict"], strict=True)) == {"p0": "wrong pair", "p1": "wrong pair"}
    assert table["content_hash"].notna().all()
    acts(at, kind="colour", number=5)
    assert [category.name for category in of(at, "memo-colouring")[1].legend.categories] == ["wrong pair"]
    press(at, "judged_undo")
    with Review.open(pool) as review:
        assert not len(review.current_verdicts())
    assert chosen(at) == [0, 1]


def test_colour__orange_is_the_suspect_side_of_zero(pool, monkeypatch):
    made = Pool.open(pool)
    (run,) = made.tables("scores")
    record = run.record | {"columns": [entry | {"signed": True} for entry in run.record["columns"]]}
    made.write_table("scores", "signed", made.table("scores", run.name), record=record, fingerprint="signed")
    at = opened(monkeypatch, pool)
    for number, orange in ((1, 254), (2, 0)):  # the queue, high is suspect; then influence, high is valuable
        acts(at, kind="colour", number=number)
        inks = of(at, "memo-colouring")[1].palette.light.astype(int)
        assert [int(code) for code in (0, 254) if inks[code][0] > inks[code][2]] == [orange]


def test_table__ticked_rows_into_the_selection(pool, monkeypatch):
    at = opened(monkeypatch, pool)
    at.session_state[f"map-{Pool.open(pool).id}-form"] = "Table"
    at.run()
    assert at.dataframe[0].value["pair"].tolist() == ["p2", "p4", "p3", "p1", "p0", "p5"]  # the queue, highest first
    at.session_state["map_table"] = {"selection": {"rows": [0, 5], "columns": []}}
    at.run()
    press(at, "table_add")
    assert chosen(at) == [2, 5]


def test_without_a_map__one_button_and_everything_else(tmp_path, monkeypatch):
    pool = plain_pool(tmp_path / "pool")
    encode(pool)
    at = opened(monkeypatch, pool.path)
    assert "There is no map by images yet" in said(at)
    assert at.button(key="make_map").label == "Make the map"
    at.text_input(key="map_query").set_value("ring").run()
    press(at, "hits_select")
    assert chosen(at) == [2, 3]


def test_space__another_map_keeps_the_selection(pool, monkeypatch):
    lay_out(Pool.open(pool), space="text", rows=(0, 5))
    at = opened(monkeypatch, pool)
    acts(at, kind="lasso", polygon=LEFT)
    at.session_state[f"map-{Pool.open(pool).id}-space"] = "text"
    at.run()
    assert chosen(at) == [0, 1]
    assert "4 kept pairs are not encoded" in said(at)
    assert "1 of the selected pairs have no place here" in said(at)


def test_damaged_map__is_told_not_thrown(pool, monkeypatch):
    path = next((pool / "maps").glob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    at = opened(monkeypatch, pool)
    assert "damaged" in said(at)


def test_k3__captions_never_reach_markdown(tmp_path, monkeypatch):
    hostile = ("<script>x</script>", "![](http://x)", "$a$", ":red[x]", "[x](javascript:1)", "**b**")
    pool = mapped_pool(tmp_path / "pool", captions=hostile)
    at = opened(monkeypatch, pool.path)
    for row in range(5):
        acts(at, kind="pick", row=row)
        marked = "\n".join(element.value for kind in (at.markdown, at.caption, at.error) for element in kind)
        assert not any(text in marked for text in hostile)
        assert hostile[(0, 1, 2, 3, 5)[row]] in said(at)  # literally
