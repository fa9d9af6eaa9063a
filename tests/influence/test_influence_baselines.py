"""The rival methods against per-pair autograd and loops, in float64, in one block and in several."""

from dataclasses import replace

import oracles
import pytest
import torch
from torch import Tensor

from chips_core.errors import UsageError
from chips_core.influence import endpoint
from chips_core.influence.baselines import usual_loss
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.endpoint import Direction, Heads
from chips_core.influence.inputs import ScoringInputs, Snapshot
from chips_core.influence.methods import method
from chips_core.influence.scoring import Targets

PAIRS, TARGETS = 12, 7


def inputs_of(*, size: int = 1024, repeats: int = 3) -> ScoringInputs:
    X, Y, heads = oracles.random_case(pairs=PAIRS)
    TX, TY, _ = oracles.random_case(pairs=TARGETS, seed=1)
    return ScoringInputs(
        pool=Features(X, Y), heads=heads, target=Features(TX, TY), plan=BlockPlan(size=size, repeats=repeats, seed=5)
    )


def blocks_of(pairs: Features, plan: BlockPlan) -> list[Tensor]:
    return list(plan.rows(len(pairs)))


def target_gradient_slowly(inputs: ScoringInputs, heads: Heads) -> Tensor:
    """The mean over target pairs and rounds of autograd's gradient of the loss term."""
    target = inputs.target
    assert target is not None
    rows = blocks_of(target, inputs.plan)
    found = [
        oracles.pair_gradients(lambda S: oracles.pos_of(S) / 2, target.image[r], target.text[r], heads) for r in rows
    ]
    return torch.cat(found).mean(0)


def scores_slowly(inputs: ScoringInputs, heads: Heads, v: Tensor, *, own_path: bool = False) -> Tensor:
    """The mean over rounds of autograd's per-pair gradient times v."""
    total, times = torch.zeros(PAIRS, dtype=torch.float64), torch.zeros(PAIRS)
    for r in blocks_of(inputs.pool, inputs.plan):
        X, Y = inputs.pool.image[r], inputs.pool.text[r]
        if own_path:
            gradients = oracles.own_path_gradients(X, Y, heads)
        else:
            gradients = oracles.pair_gradients(lambda S: oracles.pos_of(S) / 2, X, Y, heads)
        total[r] += gradients @ v
        times[r] += 1
    return total / times


def without_scale(v: Tensor, heads: Heads) -> Tensor:
    d = heads.zeros().from_flat(v)
    return Direction(d.image, d.text, torch.zeros_like(d.log_scale)).flat()


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("size", [5, 1024])
def test_target_gradient__equals_autograd(size: int) -> None:
    inputs = inputs_of(size=size)
    slow = target_gradient_slowly(inputs, inputs.heads)
    close(Targets(inputs).gradient(inputs.heads, train_scale=True).flat(), slow)
    close(Targets(inputs).gradient(inputs.heads, train_scale=False).flat(), without_scale(slow, inputs.heads))


@pytest.mark.parametrize("size", [5, 1024])
def test_dot__is_the_inner_product_of_gradients(size: int) -> None:
    inputs = inputs_of(size=size)
    slow = scores_slowly(inputs, inputs.heads, target_gradient_slowly(inputs, inputs.heads))
    close(method("dot").compute(inputs)["gradient_dot"], slow)


def test_dot__a_step_along_a_pair_lowers_the_target_loss_by_its_score() -> None:
    inputs, rate = inputs_of(), 1e-6
    found = method("dot").compute(inputs)["gradient_dot"]
    X, Y = inputs.pool.image, inputs.pool.text
    gradients = oracles.pair_gradients(lambda S: oracles.pos_of(S) / 2, X, Y, inputs.heads)
    target = inputs.target
    assert target is not None

    def target_loss(heads: Heads) -> float:
        block = endpoint.forward(target.image, target.text, heads)
        return float(oracles.pos_of(block.logits).mean() / 2)

    before = target_loss(inputs.heads)
    for n in range(4):
        step = inputs.heads.zeros().from_flat(gradients[n])
        saved = (before - target_loss(inputs.heads.moved(step, -rate))) / rate
        assert saved == pytest.approx(float(found[n]), rel=1e-3, abs=1e-4)


def test_dot__audit_mode_is_at_the_fitted_heads_without_scale() -> None:
    inputs = inputs_of(size=5)
    fitted = inputs.heads.moved(oracles.random_direction(inputs.heads), 0.2)
    inputs = replace(inputs, fitted=fitted)
    u = without_scale(target_gradient_slowly(inputs, fitted), fitted)
    entry = method("dot")
    found = entry.compute(inputs, replace(entry.defaults, mode="audit"))["gradient_dot"]
    close(found, scores_slowly(inputs, fitted, u))


def test_tracin__sums_over_snapshots() -> None:
    inputs = inputs_of(size=5)
    other = inputs.heads.moved(oracles.random_direction(inputs.heads), 0.2)
    inputs = replace(inputs, snapshots=(Snapshot(inputs.heads, 0.5), Snapshot(other, 0.125)))
    slow = torch.zeros(PAIRS, dtype=torch.float64)
    for heads, rate in ((inputs.heads, 0.5), (other, 0.125)):
        u = without_scale(target_gradient_slowly(inputs, heads), heads)
        slow += rate * scores_slowly(inputs, heads, u)
    close(method("tracin").compute(inputs)["tracin"], slow)


@pytest.mark.parametrize("name", ["trak", "ekfac", "logra"])
def test_curvature_methods__are_the_gradient_times_their_direction(name: str) -> None:
    inputs = inputs_of(size=5)
    entry = method(name)
    request = entry.plan(inputs).requests[0]
    v = request.directions[0].flat()
    slow = scores_slowly(inputs, inputs.heads, v, own_path=name == "trak")
    found = entry.compute(inputs)[entry.ranks_by.name]
    close(found, 2 * slow if name == "ekfac" else slow)


def test_curvature_methods__strong_damping_leaves_the_dot_product() -> None:
    inputs = inputs_of()
    u = without_scale(target_gradient_slowly(inputs, inputs.heads), inputs.heads)
    plain = scores_slowly(inputs, inputs.heads, u)
    entry = method("ekfac")
    found = entry.compute(inputs, replace(entry.defaults, damping=1e9))["influence"]
    assert oracles.spearman(found, plain) > 0.7  # each head keeps a factor of its own
    one_head = replace(inputs.heads.zeros(), image=entry.plan(inputs).requests[0].directions[0].image)
    assert float(one_head.norm()) > 0


def test_negcliploss__is_minus_the_loss_over_the_scale_averaged_over_rounds() -> None:
    inputs = inputs_of(size=5)
    total = torch.zeros(PAIRS, dtype=torch.float64)
    for r in blocks_of(inputs.pool, inputs.plan):
        S = oracles.logits_of(oracles.flat_heads(inputs.heads), inputs.pool.image[r], inputs.pool.text[r], inputs.heads)
        total[r] += -(1 / inputs.heads.scale) * oracles.pos_of(S) / 2 / 3
    close(method("negcliploss").compute(inputs)["negcliploss"], total)


def test_loss_residual__is_the_loss_minus_the_mean_at_the_nearest_captions() -> None:
    inputs = inputs_of()
    entry = method("loss_residual")
    found = entry.compute(inputs, replace(entry.defaults, neighbours=3))
    block = endpoint.forward(inputs.pool.image, inputs.pool.text, inputs.heads)
    losses = oracles.pos_of(block.logits) / 2
    close(found["loss"], losses)
    near = (block.text @ block.text.T).fill_diagonal_(-2).topk(3).indices
    close(found["loss_residual"], losses - losses[near].mean(1))


def test_usual_loss__given_caption_codes_equal_those_found_in_the_features() -> None:
    inputs = inputs_of()
    captions = torch.tensor([4, 4, 4, 9, 9, 1, 1, 1, 1, 1, 7, 8])
    text = inputs.pool.text[captions]
    inputs = replace(inputs, pool=Features(inputs.pool.image, text))
    losses = torch.arange(PAIRS, dtype=torch.float64)
    found = usual_loss(inputs, losses=losses, neighbours=2)
    assert torch.equal(found, usual_loss(replace(inputs, captions=captions), losses=losses, neighbours=2))
    assert found[0] == 1.5
    assert found[5] == 7.5


def test_random__is_a_seeded_draw() -> None:
    inputs = inputs_of()
    first = method("random").compute(inputs)["chance"]
    other = method("random").compute(replace(inputs, plan=replace(inputs.plan, seed=6)))["chance"]
    assert not torch.equal(first, other)
    assert 0 <= float(first.min()) <= float(first.max()) < 1


def test_knn_shapley__asks_only_labelled_targets_and_no_more_than_told() -> None:
    inputs = inputs_of()
    y = torch.arange(PAIRS) % 2
    target_y = torch.tensor([0, 1, -1, 1, -1, 0, 0])
    entry = method("knn_shapley")
    full = replace(inputs, labels=y, target_labels=target_y)
    named = target_y >= 0
    target = inputs.target
    assert target is not None
    only = replace(full, target=Features(target.image[named], target.text[named]), target_labels=target_y[named])
    close(entry.compute(full)["shapley_value"], entry.compute(only)["shapley_value"])
    fewer = entry.compute(full, replace(entry.defaults, most_targets=1))["shapley_value"]
    assert not torch.equal(fewer, entry.compute(full)["shapley_value"])


@pytest.mark.parametrize("name", ["loss_residual", "knn_shapley"])
def test_settings__no_neighbours_are_refused(name: str) -> None:
    entry = method(name)
    inputs = replace(
        inputs_of(),
        labels=torch.zeros(PAIRS, dtype=torch.int64),
        target_labels=torch.zeros(TARGETS, dtype=torch.int64),
    )
    with pytest.raises(UsageError, match="0 neighbours"):
        entry.compute(inputs, replace(entry.defaults, neighbours=0))
