"""The registry: every method on every kind of pool, from the same inputs, against slow per-pair references."""

import math
from dataclasses import replace

import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from chips_core.errors import EncoderMismatch, InputError, NoTargetSet, UsageError
from chips_core.influence import methods
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.endpoint import Heads
from chips_core.influence.inputs import Need, ScoringInputs, Snapshot
from chips_core.influence.methods import METHODS, method

NAMES = [entry.name for entry in METHODS]
CLASSES = 3


def full_inputs(pairs: int = 24, *, seed: int = 0, plan: BlockPlan | None = None) -> ScoringInputs:
    """Inputs that meet every need: a pool, a target set, labels, prompts, fitted heads and snapshots, in float64."""
    X, Y, heads = oracles.random_case(pairs=pairs, seed=seed)
    TX, TY, _ = oracles.random_case(pairs=9, seed=seed + 1)
    g = torch.Generator().manual_seed(seed)
    fitted = heads.moved(oracles.random_direction(heads, seed + 2), 0.1)
    return ScoringInputs(
        pool=Features(X, Y),
        heads=heads,
        target=Features(TX, TY),
        labels=torch.randint(CLASSES, (pairs,), generator=g),
        target_labels=torch.randint(CLASSES, (9,), generator=g),
        prompts=torch.randn(CLASSES, Y.shape[1], generator=g, dtype=torch.float64),
        fitted=fitted,
        snapshots=(Snapshot(heads, 0.5), Snapshot(fitted, 0.25)),
        plan=plan or BlockPlan(size=8, repeats=2, seed=3),
    )


def shuffled(inputs: ScoringInputs, order: Tensor) -> ScoringInputs:
    """The same pool with its rows in another order, which the rank undoes."""
    pool = Features(inputs.pool.image[order], inputs.pool.text[order], order)
    labels = None if inputs.labels is None else inputs.labels[order]
    return replace(inputs, pool=pool, labels=labels)


@pytest.mark.parametrize("name", NAMES)
def test_compute__every_method_gives_its_columns_finite_and_the_same_again(name: str) -> None:
    entry, inputs = method(name), full_inputs()
    found = entry.compute(inputs)
    assert list(found) == [column.name for column in entry.columns]
    for values in found.values():
        assert values.shape == (24,)
        assert values.dtype == torch.float64
        assert torch.isfinite(values).all()
    assert len(found[entry.ranks_by.name].unique()) > 5
    again = entry.compute(full_inputs())
    assert all(torch.equal(found[column], again[column]) for column in found)


@pytest.mark.parametrize("name", NAMES)
def test_compute__does_not_depend_on_the_order_of_the_pool(name: str) -> None:
    entry, inputs = method(name), full_inputs()
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    straight, other = entry.compute(inputs), entry.compute(shuffled(inputs, order))
    for column, values in straight.items():
        torch.testing.assert_close(other[column], values[order], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_compute__single_precision_stays_close(name: str) -> None:
    entry, inputs = method(name), full_inputs()
    single = replace(
        inputs,
        heads=inputs.heads.to(torch.float32),
        fitted=inputs.fitted.to(torch.float32) if inputs.fitted else None,
        snapshots=tuple(replace(s, heads=s.heads.to(torch.float32)) for s in inputs.snapshots),
    )
    wide, narrow = entry.compute(inputs), entry.compute(single)
    for column, values in wide.items():
        scale = float(values.abs().max()) or 1.0
        torch.testing.assert_close(narrow[column] / scale, values / scale, rtol=1e-3, atol=1e-3)


def two_pairs() -> ScoringInputs:
    return full_inputs(2)


def one_pair() -> ScoringInputs:
    return full_inputs(1)


def identical_captions() -> ScoringInputs:
    inputs = full_inputs()
    return replace(inputs, pool=Features(inputs.pool.image, inputs.pool.text[:1].expand(24, -1)))


def identical_pairs() -> ScoringInputs:
    inputs = full_inputs()
    same = Features(inputs.pool.image[:1].expand(24, -1), inputs.pool.text[:1].expand(24, -1))
    return replace(inputs, pool=same, target=same, target_labels=inputs.labels)


def half_precision_features() -> ScoringInputs:
    inputs = full_inputs()
    return replace(inputs, pool=Features(inputs.pool.image.half(), inputs.pool.text.half()))


def no_labels_at_all() -> ScoringInputs:
    inputs = full_inputs()
    return replace(inputs, labels=torch.where(torch.arange(24) == 3, inputs.labels, torch.tensor(-1)))


def huge_scale() -> ScoringInputs:
    inputs = full_inputs()
    heads = Heads.of(inputs.heads.image, inputs.heads.text, scale=1e4)
    return replace(inputs, heads=heads, fitted=heads, snapshots=(Snapshot(heads, 1.0),))


ODD = [two_pairs, one_pair, identical_captions, identical_pairs, half_precision_features, no_labels_at_all, huge_scale]


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("name", NAMES)
def test_compute__odd_pools_give_finite_scores_or_a_reason(name: str, make: object) -> None:
    entry = method(name)
    inputs = make()  # type: ignore[operator]
    reason = entry.applies(inputs)
    if reason is None:
        assert all(torch.isfinite(values).all() for values in entry.compute(inputs).values())
    else:
        assert make is one_pair
        assert reason == f"needs {Need.TWO_PAIRS}"
        with pytest.raises(InputError, match="two pairs or more"):
            entry.compute(inputs)


def test_compute__one_pair_is_scored_where_no_negatives_are_needed() -> None:
    able = {entry.name for entry in METHODS if entry.applies(one_pair()) is None}
    assert able >= {"random", "clipscore", "normsim", "semdedup", "self_confidence", "knn_shapley"}
    assert not able & {"negcliploss", "dot", "trak", "loss_residual"}


def test_compute__together_equals_one_by_one_and_reads_the_pool_once_per_heads() -> None:
    inputs, seen = full_inputs(), []
    together = methods.compute(METHODS, inputs, tick=seen.append)
    passes = methods.passes_of(METHODS, inputs)
    assert sum(seen) == passes.pairs_to_do
    for entry in METHODS:
        for column, values in entry.compute(inputs).items():
            torch.testing.assert_close(together[entry.name][column], values, rtol=1e-12, atol=1e-12)
    base_only = [entry for entry in METHODS if entry.name in ("negcliploss", "dot", "trak", "ekfac", "logra")]
    assert methods.passes_of(base_only, inputs).pairs_to_do == 24 * 2


def test_passes__shards_add_up() -> None:
    inputs = full_inputs()
    chosen = [method(name) for name in ("negcliploss", "tracin", "trak")]
    passes = methods.passes_of(chosen, inputs)
    shards = [passes.run_shard((i, 3)) for i in range(3)]
    added = passes.finish([a + b + c for a, b, c in zip(*shards, strict=True)])
    for part, whole in zip(added, passes.run(), strict=True):
        for column, values in whole.items():
            torch.testing.assert_close(part[column], values, rtol=1e-12, atol=1e-12)


def test_compute__a_tick_that_raises_stops_the_pass() -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        method("dot").compute(full_inputs(), tick=stop)


def test_applies__says_what_is_missing() -> None:
    bare = ScoringInputs(pool=full_inputs().pool, heads=full_inputs().heads)
    reasons = {entry.name: entry.applies(bare) for entry in METHODS}
    assert reasons["clipscore"] is None
    assert reasons["dot"] == "needs a target set of two pairs or more"
    assert reasons["self_confidence"] == "needs class labels of the pool, class prompts"
    assert "heads saved" in str(reasons["tracin"])
    assert {entry.name for entry in methods.applying(bare)} == {n for n, reason in reasons.items() if reason is None}
    with pytest.raises(NoTargetSet, match="--target"):
        method("dot").compute(bare)
    with pytest.raises(NoTargetSet, match="--target"):
        method("normsim").compute(bare)
    with pytest.raises(InputError, match="class_prompt"):
        method("self_confidence").compute(replace(bare, labels=torch.zeros(24, dtype=torch.int64)))


def test_applies__audit_mode_needs_fitted_heads() -> None:
    entry = method("dot")
    inputs = replace(full_inputs(), fitted=None)
    audit = replace(entry.defaults, mode="audit")
    assert entry.applies(inputs) is None
    assert entry.applies(inputs, audit) == "needs heads fitted to the pool"
    at_fitted = entry.compute(full_inputs(), audit)["gradient_dot"]
    assert not torch.allclose(at_fitted, entry.compute(full_inputs())["gradient_dot"])


def test_method__unknown_name_is_told_the_names() -> None:
    with pytest.raises(UsageError, match=r"no method 'clipscor'.*clipscore"):
        method("clipscor")


def test_methods__every_entry_can_be_shown() -> None:
    assert len(set(NAMES)) == len(NAMES)
    for entry in METHODS:
        assert entry.meaning.endswith(".")
        assert entry.title
        assert len(entry.citation) > 20
        assert len({column.name for column in entry.columns}) == len(entry.columns) > 0
        assert all(column.meaning.endswith(".") for column in entry.columns)
        assert entry.name == entry.name.lower()


def test_suspicion__turns_the_ranking_column() -> None:
    inputs = full_inputs()
    for name, sign in (("clipscore", -1), ("loss_residual", 1), ("random", 1)):
        entry = method(name)
        columns = entry.compute(inputs)
        assert torch.equal(entry.suspicion(columns), sign * columns[entry.ranks_by.name])
    entry = method("loss_residual")
    assert torch.equal(entry.worth(entry.compute(inputs)), -entry.compute(inputs)["loss_residual"])


def test_inputs__that_do_not_belong_together_are_refused() -> None:
    inputs = full_inputs()
    with pytest.raises(EncoderMismatch, match="wide"):
        replace(inputs, pool=Features(inputs.pool.image[:, 1:], inputs.pool.text))
    with pytest.raises(EncoderMismatch, match="prompts"):
        replace(inputs, prompts=torch.zeros(3, 2))
    with pytest.raises(InputError, match="labels"):
        replace(inputs, labels=torch.zeros(5, dtype=torch.int64))
    with pytest.raises(InputError, match="Class codes"):
        replace(inputs, labels=torch.full((24,), CLASSES))
    with pytest.raises(InputError, match="Class codes"):
        replace(inputs, target_labels=torch.full((9,), -2))


@given(st.sampled_from(NAMES), st.sampled_from([0.0, math.nan, math.inf]), st.integers(0, 23))
def test_compute__a_pair_without_usable_features_is_named(name: str, bad: float, row: int) -> None:
    inputs = full_inputs()
    image, text = inputs.pool.image.clone(), inputs.pool.text.clone()
    image[row], text[row] = bad, bad
    if name == "random":
        return
    with pytest.raises(InputError, match=rf"rows? \[?{row}\b"):
        method(name).compute(replace(inputs, pool=Features(image, text)))


def pool_with_wrong_captions() -> tuple[ScoringInputs, Tensor]:
    """Four classes in eight dimensions, identity heads; every fifth pair has the caption and label of another class."""
    g = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(4, 8, generator=g, dtype=torch.float64), dim=1)

    def noisy(codes: Tensor) -> Tensor:
        return centres[codes] + 0.15 * torch.randn(len(codes), 8, generator=g, dtype=torch.float64)

    truth, target = torch.arange(120) % 4, torch.arange(40) % 4
    wrong = torch.arange(120) % 5 == 0
    told = torch.where(wrong, (truth + 1) % 4, truth)
    one = torch.eye(8, dtype=torch.float64)
    inputs = ScoringInputs(
        pool=Features(noisy(truth), noisy(told)),
        heads=Heads.of(one, one, scale=10.0),
        target=Features(noisy(target), noisy(target)),
        labels=told,
        target_labels=target,
        prompts=centres,
        plan=BlockPlan(size=40, repeats=2),
    )
    return inputs, wrong


@pytest.mark.parametrize(
    "name",
    ["clipscore", "negcliploss", "loss_residual", "self_confidence", "confident_learning", "knn_shapley"],
)
def test_suspicion__wrong_captions_are_more_suspect(name: str) -> None:
    inputs, wrong = pool_with_wrong_captions()
    entry = method(name)
    suspicion = entry.suspicion(entry.compute(inputs))
    above = suspicion[wrong][:, None] > suspicion[~wrong][None, :]
    assert float(above.double().mean()) > 0.9


def test_confident_learning__flags_the_wrong_labels() -> None:
    inputs, wrong = pool_with_wrong_captions()
    issue = method("confident_learning").compute(inputs)["label_issue"].bool()
    assert float(issue[wrong].double().mean()) > 0.9
    assert float(issue[~wrong].double().mean()) < 0.1
