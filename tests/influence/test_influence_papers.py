"""CHIPS and ECIF through the registry equal CHIPS and ECIF by themselves; what the target loss means."""

from dataclasses import replace

import oracles
import pytest
import torch
from torch import Tensor

from chips_core.errors import InputError
from chips_core.influence import chips, ecif, methods
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.chips import ChipsSettings
from chips_core.influence.ecif import EcifSettings
from chips_core.influence.inputs import ScoringInputs
from chips_core.influence.methods import method
from chips_core.influence.scoring import Targets
from chips_core.influence.targets import target_gradient, zero_shot_gradient

PLAN = BlockPlan(size=8, repeats=2, seed=3)


def inputs_of() -> ScoringInputs:
    X, Y, heads = oracles.random_case(pairs=20)
    TX, TY, _ = oracles.random_case(pairs=9, seed=1)
    return ScoringInputs(
        pool=Features(X, Y),
        heads=heads,
        target=Features(TX, TY),
        fitted=heads.moved(oracles.random_direction(heads, 4), 0.1),
        plan=PLAN,
    )


def with_classes(inputs: ScoringInputs) -> ScoringInputs:
    prompts = torch.randn(3, inputs.pool.text.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return replace(inputs, prompts=prompts, target_labels=torch.arange(9) % 3)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mode", ["audit", "paper"])
def test_chips__through_the_registry(mode: str) -> None:
    inputs = inputs_of()
    assert inputs.target is not None
    heads = inputs.at(mode)  # type: ignore[arg-type]
    settings = ChipsSettings(train_scale=mode == "paper")
    alone = chips.score(inputs.pool, inputs.target, heads=heads, plan=PLAN, settings=settings)
    found = method("chips", mode=mode).compute(inputs)
    for name in ("alignment", "learnability", "relevance", "utility"):
        close(found[name], getattr(alone, name))


@pytest.mark.parametrize("mode", ["audit", "paper"])
@pytest.mark.parametrize("negatives", ["exact", "taylor"])
def test_ecif__through_the_registry(mode: str, negatives: str) -> None:
    inputs = inputs_of()
    settings = EcifSettings(train_scale=mode == "paper", negatives=negatives)  # type: ignore[arg-type]
    heads = inputs.at(mode)  # type: ignore[arg-type]
    alone = ecif.score(inputs.pool, inputs.target, heads=heads, plan=PLAN, settings=settings)
    found = method("ecif", mode=mode).compute(inputs, settings)
    close(found["delta_loss_if_removed"], alone.delta_loss_if_removed)
    close(found["posi_if"] + found["nega_if"], found["delta_loss_if_removed"])
    close(found["posi_if"], alone.pos)


def test_method__a_family_name_means_audit_unless_told_otherwise() -> None:
    assert method("chips").name == "chips_audit"
    assert method("ecif", mode="paper").name == "ecif_paper"


def test_passes__both_papers_share_one_reading_at_the_same_heads() -> None:
    inputs = inputs_of()
    audit = [method("chips"), method("ecif")]
    assert methods.passes_of(audit, inputs).pairs_to_do == 20 * 2
    together = methods.compute(audit, inputs)
    for entry in audit:
        for column, values in entry.compute(inputs).items():
            close(together[entry.name][column], values)


def test_target_loss__auto_takes_the_prompts_where_every_target_pair_has_a_class() -> None:
    pairs, classes = inputs_of(), with_classes(inputs_of())
    assert pairs.target is not None
    assert classes.prompts is not None
    heads = pairs.heads
    by_pairs = target_gradient(pairs.target, heads, plan=PLAN)
    by_class = zero_shot_gradient(pairs.target.image, torch.arange(9) % 3, prompts=classes.prompts, heads=heads)
    close(Targets(pairs).gradient(heads, train_scale=True).flat(), by_pairs.flat())
    close(Targets(classes).gradient(heads, train_scale=True).flat(), by_class.flat())
    told = replace(classes, target_loss="pairs")
    close(Targets(told).gradient(heads, train_scale=True).flat(), by_pairs.flat())
    one_missing = replace(classes, target_labels=torch.tensor([-1, 0, 1, 2, 0, 1, 2, 0, 1]))
    close(Targets(one_missing).gradient(heads, train_scale=True).flat(), by_pairs.flat())


def test_target_loss__classes_need_prompts() -> None:
    with pytest.raises(InputError, match="class_prompt"):
        method("dot").compute(replace(inputs_of(), target_loss="classes"))
