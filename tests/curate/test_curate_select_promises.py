"""F1 to F7 on a whole pool and through the command line: budgets, what never comes in, leaks, quotas, replays."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from chips_core.cli import main
from chips_core.errors import InputError
from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Pool, Review

# id, image, label, split, group: `same` holds the bytes of the test image, `near` nearly them, `kin` is of its patient
ROWS = [
    ("test", "test.png", "a", "test", "g0"),
    ("kin", "kin.png", "a", "train", "g0"),
    ("same", "same.png", "b", "train", "g1"),
    ("near", "near.png", "b", "train", "g2"),
    *[(f"t{i}", f"t{i}.png", "ab"[i % 2], "train", f"h{i // 2}") for i in range(6)],
    ("torn", "torn.png", "a", "train", "h9"),
]
FREE = {"near", *(f"t{i}" for i in range(6))}  # `near` until near duplicates were looked for


def picture(seed):
    draw = np.random.default_rng(seed)
    return np.kron(draw.integers(0, 255, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)


@pytest.fixture
def pool(tmp_path):
    """A pool of which one test pair shares its patient, its image and nearly its image with three training pairs."""
    source = tmp_path / "data"
    source.mkdir()
    for at, (_, image, *_) in enumerate(ROWS):
        pixels = picture(0 if image in ("same.png", "near.png") else at)
        if image == "near.png":
            pixels[:2, :2] ^= 4
        Image.fromarray(pixels).save(source / image)
    (source / "torn.png").write_bytes((source / "t0.png").read_bytes()[:60])
    with (source / "pairs.csv").open("w", newline="") as handle:
        lines = [(i, image, f"Caption of {i}.", label, split, group) for i, image, label, split, group in ROWS]
        csv.writer(handle).writerows([("pair_id", "image", "caption", "label", "split", "group"), *lines])
    step("intake", source=str(source), pool=str(tmp_path / "pool"), workers=1)
    score(tmp_path / "pool", "run", dict.fromkeys(FREE | {"kin", "same"}, 0.5))
    return tmp_path / "pool"


def step(verb, **settings):
    return run_step(verb, settings, progress=Silent())


def score(folder, name, values, *, target="test"):
    """Writes a run of one score for the pairs that have one."""
    pool = Pool.open(folder)
    ids = list(pool.kept(["pair_id"])["pair_id"])
    table = pd.DataFrame({"pair_id": ids, "row": range(len(ids)), "queue": [values.get(i, 0.0) for i in ids]})
    record = {"columns": [{"column": "queue", "method": "queue", "higher_is": "suspect"}], "target": target}
    pool.write_table("scores", name, table, record=record, fingerprint=name)


def ids_of(folder, name):
    return list(Pool.open(folder).table("selections", name)["pair_id"])


def test_select__f1_equal_scores_give_the_lowest_ids(pool):
    step("select", pool=str(pool), method="queue", budget="3", name="ties")
    assert ids_of(pool, "ties") == ["near", "t0", "t1"]


@pytest.mark.parametrize(("budget", "code"), [("0", 0), ("7", 0), ("8", 3), ("-1", 2), ("1.5", 2), ("all", 2)])
def test_select__f2_budgets_on_the_command_line(pool, budget, code, capsys):
    asked = ["select", str(pool), "--method", "queue", f"--budget={budget}", "--out", "b", "--json", "--quiet"]
    assert main(asked) == code
    found = json.loads(capsys.readouterr().out)
    if code == 0:
        assert found["pairs"] == int(budget)
    else:
        assert found["fix"]
        assert not Pool.open(pool).tables("selections")


@pytest.mark.parametrize("method", ["queue", "random", "queue:3,random:1", "audit_then_select"])
def test_select__f3_broken_and_rejected_pairs_never_come_in(pool, method):
    with Review.open(pool) as review:
        review.add_verdict(pair_id="t3", verdict="wrong pair", reviewer="me")
        review.add_verdict(pair_id="t4", verdict="unsure", reviewer="me")
    found = step("select", pool=str(pool), method=method, budget="4", name="some", drop="0.0", pin_confirmed=True)
    assert "torn" not in ids_of(pool, "some")  # broken at intake
    assert "t3" not in ids_of(pool, "some")
    assert found["kept_out"]["judged wrong"] == 1


@pytest.mark.parametrize("method", ["queue", "random", "queue:3,random:1"])
def test_select__f4_fewer_begin_more(pool, method):
    for k in range(8):
        step("select", pool=str(pool), method=method, budget=str(k), name=f"k{k}")
    longest = ids_of(pool, "k7")
    assert set(longest) == FREE
    assert all(ids_of(pool, f"k{k}") == longest[:k] for k in range(8))


def test_select__f5_an_impossible_quota_is_a_table_of_shortages_and_nothing_is_stored(pool, capsys):
    asked = ["select", str(pool), "--method", "queue", "--budget", "5", "--quota", "group=1"]
    assert main([*asked, "--json", "--quiet"]) == 3
    what = json.loads(capsys.readouterr().out)["what"]
    assert "pairs in all: 4 of 5" in what
    assert "group h0: held at its quota: 1 of 2" in what
    assert not Pool.open(pool).tables("selections")


def test_select__f6_what_leaks_stays_out_with_counts(pool):
    step("duplicates", pool=str(pool), workers=1)
    found = step("select", pool=str(pool), method="random", budget="6", name="clean")
    assert set(ids_of(pool, "clean")) == FREE - {"near"}
    assert found["kept_out"] == {
        "judged wrong": 0,
        "patient in the target or test set": 1,
        "image in the target or test set": 1,
        "nearly the same image in the target or test set": 1,
    }
    assert found["warnings"] == ["3 pairs share a patient or an image with the target or test set and stay out."]


def test_select__f7_a_stored_recipe_gives_the_same_ids(pool):
    asked = {"method": "queue:2,random:1", "budget": "4", "seed": 5, "quotas": ["label=3"], "at_least": 1}
    step("select", pool=str(pool), name="kept", **asked)
    found = step("select", pool=str(pool), replay="kept")
    assert (found["same"], found["changed"], found["new"], found["gone"]) == (True, [], [], [])
    with Review.open(pool) as review:
        review.rename_selection(name="kept", new_name="called otherwise", reviewer="me")
    assert step("select", pool=str(pool), replay="called otherwise")["same"] is True
    with pytest.raises(InputError, match="no computed selection"):
        step("select", pool=str(pool), replay="nowhere")


@pytest.mark.parametrize("name", ["a third, audited", "../../etc/x", "$(touch x)", "; rm -rf", "--help"])
def test_k10__a_selection_may_have_any_name_and_names_no_file(pool, name):
    before = {path for path in pool.rglob("*") if "selections" not in path.parts}
    assert step("select", pool=str(pool), method="random", budget="2", name=f" {name} ")["selection"] == name
    (artifact,) = Pool.open(pool).tables("selections")
    assert artifact.name.startswith("random-")
    assert step("select", pool=str(pool), replay=name)["same"] is True
    after = {path for path in pool.rglob("*") if "selections" not in path.parts}
    assert {path.name for path in after - before} <= {"review.sqlite", "review.sqlite-wal", "review.sqlite-shm"}
    assert not (pool.parent / "etc").exists()


@pytest.mark.parametrize("name", ["a\nb", "x" * 81, "all", "unsaved-1", "  "])
def test_select__what_is_no_name_is_refused_as_on_the_map(pool, name):
    with pytest.raises(InputError, match="cannot be the name of a selection"):
        step("select", pool=str(pool), method="random", budget="2", name=name)
    assert not Pool.open(pool).tables("selections")


def test_select__f7_a_renamed_selection_keeps_its_recipe_when_its_old_name_is_given_again(pool):
    step("select", pool=str(pool), method="queue", budget="2", name="kept")
    with Review.open(pool) as review:
        review.rename_selection(name="kept", new_name="older", reviewer="me")
    step("select", pool=str(pool), method="random", budget="3", name="kept")
    assert step("select", pool=str(pool), replay="older")["pairs"] == 2
    assert step("select", pool=str(pool), replay="kept")["pairs"] == 3


def test_select__f7_a_changed_pool_says_what_changed(pool):
    step("select", pool=str(pool), method="queue", budget="4", name="kept")
    step("duplicates", pool=str(pool), workers=1)
    found = step("select", pool=str(pool), replay="kept")
    assert found["changed"] == ["the near duplicates that are known"]
    assert (found["gone"], found["new"]) == (["near"], ["t3"])
    with Review.open(pool) as review:
        review.add_verdict(pair_id="t0", verdict="negation", reviewer="me")
    found = step("select", pool=str(pool), replay="kept")
    assert found["changed"] == ["the verdicts", "the near duplicates that are known"]
    assert (found["gone"], found["new"]) == (["near", "t0"], ["t3", "t4"])


def test_select__f7_a_run_that_is_gone_is_told(pool):
    score(pool, "other", {"t5": -1.0})
    step("select", pool=str(pool), method="queue", budget="2", name="kept", runs=["other"])
    assert ids_of(pool, "kept")[0] == "t5"
    Pool.open(pool).remove("scores", "other")
    found = step("select", pool=str(pool), replay="kept")
    assert found["changed"] == ["the scoring runs"]
    assert found["gone"] == ["t5"]


def test_select__a_run_without_a_target_set_is_told(pool):
    score(pool, "odd", {}, target="")
    with pytest.raises(InputError, match="'odd' does not say which target set"):
        step("select", pool=str(pool), method="random", budget="4")


def test_select__semdedup_takes_what_repeats_nothing_first():
    from test_curate_select import candidates

    from chips_core.curate.candidates import Embeddings
    from chips_core.curate.recipe import Recipe
    from chips_core.curate.select import select

    table = candidates(6)
    angles = np.deg2rad([0, 0, 0, 90, 90, 45])  # three alike, two alike, one alone
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    object.__setattr__(table, "embeddings", Embeddings(vectors, vectors))
    chosen = select(table, Recipe("semdedup", "6")).ids
    last = {int(i[1:]) for i in chosen[3:]}
    assert len(last & {0, 1, 2}) <= 2
    assert len(set(chosen[:3])) == 3
    first = [angles[int(i[1:])] for i in chosen[:2]]
    assert first[0] != first[1]  # never two alike before the others
