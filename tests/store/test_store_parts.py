"""Parts of a pool: target set, scored, kept back; and what is held out where no split is trusted."""

import numpy as np
import pandas as pd
import pytest

from chips_core.store.parts import MOST, default_target, parts_of


def pairs(*lines: tuple[str, str, str]) -> pd.DataFrame:
    """One line a pair: split, source, group."""
    frame = pd.DataFrame(lines, columns=["split", "source", "group"])
    return frame.assign(pair_id=[f"p{number}" for number in range(len(frame))])


def test_parts_of__a_split_a_source_and_none() -> None:
    frame = pairs(("train", "a", ""), ("val", "a", ""), ("test", "b", ""), ("train", "b", ""))
    by_split = parts_of(frame, target="val")
    assert by_split.target.tolist() == [False, True, False, False]
    assert by_split.scored.tolist() == [True, False, False, True]
    assert by_split.kept_back.tolist() == [False, True, True, False]
    by_source = parts_of(frame, target="b")
    assert by_source.target.tolist() == [False, False, False, True]  # the test pair of the source is no target
    assert by_source.scored.tolist() == [True, False, False, False]
    assert not parts_of(frame, target="").target.any()
    assert not parts_of(frame, target="test").target.any()
    assert default_target(frame) == "val"


def test_held_out__takes_whole_groups_and_does_not_depend_on_the_order() -> None:
    lines = [("", "", f"g{number // 3}" if number < 150 else "") for number in range(300)]
    frame = pairs(*lines)
    assert default_target(frame) == "held-out"
    held = parts_of(frame, target="held-out")
    assert 30 <= held.target.sum() <= 32
    assert not set(frame["group"][held.target]) - {""} & set(frame["group"][held.scored])
    assert (held.target ^ held.scored).all()
    order = np.random.default_rng(0).permutation(len(frame))
    turned = parts_of(frame.iloc[order].reset_index(drop=True), target="held-out")
    assert (turned.target == held.target[order]).all()


def test_held_out__leaves_test_alone_and_takes_of_train_where_there_is_one() -> None:
    frame = pairs(*[(("train", "test", "")[number % 3], "", "") for number in range(90)])
    held = parts_of(frame, target="held-out")
    assert held.target.sum() == 3
    assert set(frame["split"][held.target]) == {"train"}
    assert held.kept_back.sum() == 33


@pytest.mark.parametrize(
    ("count", "group", "expected"), [(4, "", 0), (14, "", 0), (20, "", 2), (40, "one", 0), (50_000, "", MOST)]
)
def test_held_out__of_few_of_one_patient_and_of_many(count: int, group: str, expected: int) -> None:
    frame = pairs(*[("", "", group)] * count)
    assert parts_of(frame, target="held-out").target.sum() == expected
