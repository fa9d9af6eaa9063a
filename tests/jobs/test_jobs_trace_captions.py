"""Retrieval errors traced: the gradient against autograd, the influence against a dense inverse, and one real refit."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import tiny_dataset, tiny_model
from torch.nn.functional import cross_entropy, normalize

from chips_core.cli import main
from chips_core.errors import InputError
from chips_core.influence import ecif, targets
from chips_core.influence.curvature import dense, dense_solve
from chips_core.influence.endpoint import Direction
from chips_core.jobs import trace, trace_pool
from chips_core.jobs import trace_answers as answers
from chips_core.jobs.steps import run_step
from chips_core.jobs.trace_pool import Prepared, prepare
from chips_core.progress import Silent
from chips_core.store import Pool

SAME = "The same words twice."


def build(folder: Path, *, change=None) -> Path:
    """Makes a pool without labels, 12 test images of which two have the same caption."""
    source = tiny_dataset(folder / "data", count=72)
    table = pd.read_csv(source / "pairs.csv", dtype=str).drop(columns=["label", "class_prompt"])
    table.loc[table.index[-2:], "caption"] = SAME
    table = change(table) if change else table
    table.to_csv(source / "pairs.csv", index=False)
    run_step("intake", {"source": str(source), "pool": str(folder / "pool")}, progress=Silent())
    model = str(tiny_model(folder / "model"))
    run_step("encode", {"pool": str(folder / "pool"), "model": model}, progress=Silent())
    return folder / "pool"


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("captions"))


@pytest.fixture(scope="module")
def ready(pool) -> Prepared:
    asked = trace.Settings(str(pool), question="caption", probes=8)
    return prepare(Pool.open(pool), asked, progress=Silent())


def candidates(ready: Prepared) -> tuple[torch.Tensor, list[int]]:
    """Returns by hand the text features of the different captions in order, and each image's own among them."""
    captions = ready.test.pairs["caption"].tolist()
    names = sorted(set(captions))
    stored = ready.pool.features()
    texts = [np.asarray(stored.text[ready.test.rows[captions.index(name)]], np.float64) for name in names]
    return torch.from_numpy(np.stack(texts)), [names.index(caption) for caption in captions]


def by_autograd(ready: Prepared, place: int) -> tuple[Direction, float]:
    """Returns the gradient and the value of -log p(own caption | image) in float64."""
    texts, own = candidates(ready)
    image, text = (
        head.double().clone().requires_grad_() for head in (ready.tracer.heads.image, ready.tracer.heads.text)
    )
    x = normalize(ready.test.features.image[[place]].double() @ image.T, dim=1)
    logits = ready.tracer.heads.scale * x @ normalize(texts @ text.T, dim=1).T
    loss = cross_entropy(logits, torch.tensor([own[place]]))
    loss.backward()
    assert image.grad is not None
    assert text.grad is not None
    return Direction(image.grad, text.grad, torch.zeros((), dtype=torch.float64)), float(loss.detach())


def test_prepare__the_answers_are_the_different_captions_of_the_split(ready):
    assert len(ready.classes) == 11
    assert ready.classes.count(SAME) == 1
    texts, own = candidates(ready)
    assert ready.test.labels.tolist() == own
    assert torch.equal(ready.tracer.prompts.double(), texts)
    for place in range(12):
        x = normalize(ready.test.features.image[[place]].double() @ ready.tracer.heads.image.double().T, dim=1)
        fits = (x @ normalize(texts @ ready.tracer.heads.text.double().T, dim=1).T)[0]
        assert ready.wrong[place] == (int(fits.argmax()) != own[place])


def test_gradient__is_autograd_of_the_own_caption_against_the_others(ready):
    place = int(ready.wrong.argmax())
    expected, loss = by_autograd(ready, place)
    image, label = ready.test.features.image[[place]], torch.from_numpy(ready.test.labels[[place]])
    heads = ready.tracer.heads.to(torch.float64)
    found = targets.zero_shot_gradient(image, label, prompts=ready.tracer.prompts, heads=heads, train_scale=False)
    assert torch.allclose(found.flat(), expected.flat(), rtol=1e-10, atol=1e-13)
    assert torch.allclose(ready.tracer.gradient(image, label).flat(), expected.flat(), atol=1e-4)
    assert float(ready.tracer.losses(image, label)) == pytest.approx(loss, rel=1e-5)


def test_explain__equals_a_dense_inverse(ready):
    """delta_n = v · H⁻¹ ∇(L - L without n) / 2N, v by autograd, H written out, each pair removed by itself."""
    place = int(ready.wrong.argmax())
    v, _ = by_autograd(ready, place)
    solved = dense_solve(dense(ready.tracer.curvature, v), v, damping=ready.tracer.settings.damping).direction
    table = answers.explain(ready, [place], mode="plain", top=3)
    for line in table.iloc[[0, -1]].itertuples():
        one = torch.zeros(len(ready.found.rows), dtype=torch.bool)
        one[line.place] = True
        gradient = ecif.removal_gradient(ready.tracer.pool, one, heads=ready.tracer.heads, plan=ready.tracer.plan)
        assert line.delta_loss_if_removed == pytest.approx(float(gradient.dot(solved)), rel=2e-2)


def test_what_if__is_predicted_to_help_and_tells_what_the_refit_really_gives(ready):
    place = int(ready.wrong.argmax())
    table = answers.explain(ready, [place], mode="plain", top=8)
    harmful = table[table["influence"] < 0]["place"].tolist()
    found = answers.what_if(ready, [place], harmful, retrain=True)
    assert found["predicted"]["loss"] < found["before"]["loss"]
    members = torch.zeros(len(ready.found.rows), dtype=torch.bool)
    members[harmful] = True
    heads = ready.tracer.retrained(members)
    x = normalize(ready.test.features.image[[place]].float() @ heads.image.T, dim=1)
    p = torch.softmax(heads.scale * x @ normalize(candidates(ready)[0].float() @ heads.text.T, dim=1).T, 1)[0]
    own = ready.classes[int(ready.test.labels[place])]
    assert found["retrained"]["probabilities"][own] == pytest.approx(float(p[ready.test.labels[place]]), rel=1e-4)


def test_what_if__of_many_answers_tells_the_likeliest_and_the_right_one(ready, monkeypatch):
    place = int(ready.wrong.argmax())
    whole = answers.what_if(ready, [place], [0, 1], retrain=False)
    monkeypatch.setattr(answers, "TOLD", 1)
    found = answers.what_if(ready, [place], [0, 1], retrain=False)
    own = ready.classes[int(ready.test.labels[place])]
    likeliest = max(whole["before"]["probabilities"], key=whole["before"]["probabilities"].get)
    for state in ("before", "predicted"):
        told = found[state]["probabilities"]
        assert set(told) == {own, likeliest}
        assert told.items() <= whole[state]["probabilities"].items()
    assert set(answers.image_facts(ready, place)["probabilities"]) == {own, likeliest}


def test_prepare__both_questions_share_the_sizes_of_the_removals_but_not_the_name(tmp_path):
    folder = tmp_path / "pool"
    source = tiny_dataset(tmp_path / "data", count=72)
    run_step("intake", {"source": str(source), "pool": str(folder)}, progress=Silent())
    run_step("encode", {"pool": str(folder), "model": str(tiny_model(tmp_path / "model"))}, progress=Silent())
    by_class = prepare(Pool.open(folder), trace.Settings(str(folder), probes=8), progress=Silent())
    asked = trace.Settings(str(folder), question="caption", probes=8)
    by_caption = prepare(Pool.open(folder), asked, progress=Silent(), measure=False)
    assert by_caption.sizes is not None
    assert by_caption.sizes.pos.tolist() == by_class.sizes.pos.tolist()
    assert by_caption.name != by_class.name
    assert by_caption.classes != by_class.classes == ("bar", "disc", "ring")


def test_prepare__a_large_split_is_cut_and_one_caption_is_refused(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(trace_pool, "MOST_CAPTIONS", 5)
    asked = trace.Settings(str(pool), question="caption", probes=8)
    assert len(prepare(Pool.open(pool), asked, progress=Silent(), measure=False).test.rows) == 5
    same = build(tmp_path, change=lambda table: table.assign(caption=SAME))
    with pytest.raises(InputError, match="the same caption"):
        prepare(Pool.open(same), trace.Settings(str(same), question="caption"), progress=Silent())


def test_trace__of_captions_on_the_command_line(pool, capsys, monkeypatch):
    monkeypatch.setattr(trace_pool, "REMOVALS", 3)
    assert main(["trace", str(pool), "--question", "caption", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert (listed["question"], listed["accuracy"], listed["images"]) == ("caption", None, 12)
    assert listed["honesty"]["removals"] == 3
    image = listed["errors"][0]
    asked = ["trace", str(pool), "--question", "caption", "--image", image["pair_id"], "--top", "3", "--retrain"]
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["image"]["label"] == image["label"]
    assert len(found["harmful"]) == 3
    assert image["label"] in found["without_harmful"]["retrained"]["probabilities"]
    assert main(asked) == 0
    assert f"{image['pair_id']}: {image['label']} taken for" in capsys.readouterr().out
