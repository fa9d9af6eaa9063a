"""Evaluate and trace as steps on a tiny pool: the same answers from the command line, bad input explained."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny import tiny_dataset, tiny_model

from chips_core.cli import main
from chips_core.errors import InputError, NoTargetSet, UsageError
from chips_core.jobs import evaluate, trace, trace_pool, trace_recall
from chips_core.jobs import trace_answers as answers
from chips_core.jobs.steps import run_step
from chips_core.jobs.trace_pool import Prepared, prepare
from chips_core.progress import Silent
from chips_core.store import Pool
from chips_core.store.check import check_pool


def build(folder: Path, *, labels: bool = True) -> Path:
    source = tiny_dataset(folder / "data", count=72)
    table = pd.read_csv(source / "pairs.csv", dtype=str)
    if not labels:
        table = table.drop(columns=["label", "class_prompt"])
    else:
        table.loc[table.index[-1], "image"] = table.loc[0, "image"]  # the last one is of the test split
    table.to_csv(source / "pairs.csv", index=False)
    model, pool = tiny_model(folder / "model"), folder / "pool"
    run_step("intake", {"source": str(source), "pool": str(pool)}, progress=Silent())
    run_step("encode", {"pool": str(pool), "model": str(model)}, progress=Silent())
    return pool


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("traced"))


@pytest.fixture(scope="module")
def plain_pool(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("plain"), labels=False)


@pytest.fixture(scope="module")
def ready(pool) -> Prepared:
    return prepare(Pool.open(pool), trace.Settings(str(pool), probes=8), progress=Silent())


def test_evaluate__on_the_command_line(pool, capsys):
    assert main(["evaluate", str(pool), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images_also_in_training"] == 1
    assert sum(line["images"] for line in found["zero_shot"]["classes"]) == found["pairs"]
    right = sum(found["zero_shot"]["confusion"][i][i] for i in range(3))
    assert found["zero_shot"]["accuracy"] == pytest.approx(right / found["pairs"])
    assert main(["evaluate", str(pool)]) == 0
    assert "LEAK" in capsys.readouterr().out


def test_evaluate__prompts_of_a_file_give_the_same_as_the_datas_own(pool, tmp_path):
    own = evaluate.run(evaluate.Settings(str(pool)), progress=Silent())
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps({name: f"a picture of a {name}" for name in ("bar", "disc", "ring")}))
    given = evaluate.run(evaluate.Settings(str(pool), prompts=str(file)), progress=Silent())
    assert given["prompts"] == "prompts.json"
    assert given["classes"] == own["classes"]


def test_evaluate__without_labels_says_why_and_offers_retrieval(plain_pool):
    found = evaluate.run(evaluate.Settings(str(plain_pool)), progress=Silent())
    assert found["zero_shot"] is None
    assert "no labels" in found["why_no_zero_shot"]
    assert set(found["retrieval"]["image_to_text"]) == {"1", "5", "10"}


def test_evaluate__an_unknown_split_is_named(pool):
    with pytest.raises(InputError, match="its splits are: test, train, val"):
        evaluate.run(evaluate.Settings(str(pool), split="tset"), progress=Silent())


def test_trace__without_labels_says_what_is_missing(plain_pool):
    with pytest.raises(NoTargetSet, match="has no labels"):
        trace.run(trace.Settings(str(plain_pool)), progress=Silent())


def test_trace__of_one_image_holds_both_kinds_and_the_leak(ready):
    leaked = int(ready.test.leaked.argmax())
    assert answers.image_facts(ready, leaked)["also_in_training"]
    table = answers.explain(ready, [leaked], mode="relative", top=len(ready.found.rows))
    assert list(table["influence"]) == sorted(table["influence"])
    assert len(table) == len(ready.found.rows)
    assert table["same_image"].sum() == 1
    assert float(table.loc[table["same_image"], "similarity"].iloc[0]) == pytest.approx(1.0, abs=1e-4)


def test_explain__through_the_fit_is_the_tracers_own_answer(ready):
    place = int(ready.wrong.argmax())
    table = answers.explain(ready, [place], mode="plain", top=len(ready.found.rows), way="fit")
    images, labels = ready.test.features.image[[place]], torch.from_numpy(ready.test.labels[[place]])
    found = ready.tracer.through_fit(images, labels)
    assert table["pos"].tolist() == pytest.approx(found.pos[table["place"].to_numpy()].tolist())
    assert table["influence"].tolist() == pytest.approx(found.plain[table["place"].to_numpy()].tolist())


def test_run__through_the_fit_is_plain_and_relative_is_refused(pool, ready):
    image = str(ready.test.pairs["pair_id"].iloc[int(ready.wrong.argmax())])
    asked = trace.Settings(str(pool), image=image, way="fit", top=3, probes=8)
    assert trace.run(asked, progress=Silent())["mode"] == "plain"
    with pytest.raises(UsageError, match="not relative"):
        trace.run(replace(asked, mode="relative"), progress=Silent())


def test_what_if__tells_before_predicted_and_retrained(ready):
    found = answers.what_if(ready, [0], [0, 1, 2], retrain=True)
    assert found["removed"] == 3
    for name in ("before", "predicted", "retrained"):
        assert sum(found[name]["probabilities"].values()) == pytest.approx(1.0)
    assert found["retrained"]["loss"] != found["before"]["loss"]
    nothing = answers.what_if(ready, [0], [], retrain=True)
    assert nothing["before"] == nothing["predicted"] == nothing["retrained"]


def test_run__is_stored_and_found_again(pool, ready):
    again = prepare(Pool.open(pool), trace.Settings(str(pool), probes=8), progress=Silent())
    assert again.name == ready.name
    assert again.sizes.pos.tolist() == ready.sizes.pos.tolist()


def test_run__an_unknown_image_is_refused(pool):
    with pytest.raises(InputError, match="No test image"):
        trace.run(trace.Settings(str(pool), image="nobody", probes=8), progress=Silent())


@pytest.mark.parametrize(
    ("pos", "neg", "words"), [(-1.0, 0.1, "pulled"), (0.1, -1.0, "pushed"), (-1.0, -0.9, "and as a wrong answer")]
)
def test_role__in_words(pos, neg, words):
    assert words in answers.role(pos, neg)
    assert "away from" in answers.role(pos, neg)


def test_run__of_a_large_pool_answers_quickly_and_exact_measures_every_pair(tmp_path, monkeypatch, capsys):
    folder = build(tmp_path)
    monkeypatch.setattr(trace_recall, "EXACT_PAIRS", 10)
    monkeypatch.setattr(trace_recall, "CHECKED", 2)
    monkeypatch.setattr(trace_pool, "REMOVALS", 3)
    assert main(["trace", str(folder), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["recall"]["recall"] > 0.8
    assert listed["recall"]["images"] == 2
    assert listed["accuracy"]["images"] == listed["images"]
    image = listed["errors"][0]["pair_id"]
    answers_of = {}
    for flags in ([], ["--way", "exact"], ["--way", "fit"]):
        assert main(["trace", str(folder), "--image", image, "--top", "5", "--json", *flags]) == 0
        found = json.loads(capsys.readouterr().out)
        answers_of[found["way"]] = {line["pair_id"] for line in found["harmful"]}
    assert len(answers_of["quick"] & answers_of["exact"]) >= 4
    assert len(answers_of["fit"]) == 5
    monkeypatch.setattr(trace_recall.trace_search, "measured", None)  # measured once: a second run only reads it
    assert main(["trace", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recall"] == listed["recall"]
    assert check_pool(folder).sound
