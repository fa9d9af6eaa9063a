"""What can be computed next: target sets as the score step sees them, reasons, and only the steps still to do."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from chips_core.influence.blocks import BlockPlan
from chips_core.jobs.scoring_set import scoring_set
from chips_core.pairs_schema import PAIRS
from chips_core.store import Pool
from chips_core.views.catalogue import MethodEntry
from chips_core.views.planning import SUGGESTED, Choice, Facts, Target, offered, steps_for, targets_of, why_not


def entry(name: str, *needs: str) -> MethodEntry:
    return MethodEntry(name, name, "What it says.", "Somebody, some year.", needs)


def pairs(*lines: tuple[str, str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(lines, columns=["split", "source", "label"])
    return frame.assign(pair_id=[str(number) for number in range(len(frame))], group="")


TARGET = Target("val", "split", pairs=5, scored=20, labelled=True, scored_labelled=True)
FACTS = Facts(pairs=30, targets=(TARGET,), classes=3)
CHOICE = Choice("demo", None, "val", "audit", ("chips_audit",), ("image",), near_duplicates=True)


def test_targets_of__val_first_and_never_test() -> None:
    found = targets_of(
        pairs(("train", "a", "x"), ("train", "b", ""), ("val", "a", "x"), ("test", "a", "x"), ("train", "a", ""))
    )
    assert [(t.name, t.kind, t.pairs, t.scored) for t in found] == [
        ("val", "split", 1, 3),
        ("a", "source", 3, 1),  # the test pair of source a is no target either
        ("b", "source", 1, 2),
    ]


def test_targets_of__without_a_val_split_a_tenth_held_out_comes_first() -> None:
    found = targets_of(pairs(*[("", "a" if number % 2 else "b", "x") for number in range(40)]))
    assert [(t.name, t.kind, t.pairs, t.scored) for t in found] == [
        ("held-out", "share", 4, 36),
        ("a", "source", 20, 20),
        ("b", "source", 20, 20),
    ]
    assert found[0].words == "held-out — a tenth, whole patients, 4 pairs; 36 are scored"


def test_targets_of__nothing_left_to_score_is_no_target() -> None:
    assert targets_of(pairs(("", "one", "x"), ("", "one", "y"))) == ()
    assert targets_of(pairs(("test", "a", "x"), ("test", "b", "y"))) == ()


def test_targets_of__agrees_with_the_score_step(tmp_path: Path) -> None:
    frame = pairs(("train", "a", "x"), ("train", "b", ""), ("val", "a", ""), ("val", "c", ""), ("test", "c", "x"))
    columns = {name: [""] * len(frame) for name in PAIRS.names} | {name: list(frame[name]) for name in frame}
    columns |= {
        "pair_id": list("12345"),
        "outcome": ["kept"] * 5,
        "flags": [[]] * 5,
        "width": [1] * 5,
        "height": [1] * 5,
    }
    batch = pa.RecordBatch.from_pydict(columns, schema=PAIRS)
    pool = Pool.create(tmp_path / "p", batches=[batch], record={})
    with pool.writing("test"):
        writer = pool.feature_writer(fingerprint="f", count=5, image_dim=2, text_dim=2, record={})
        ones = np.ones((5, 2), np.float32)
        writer.write(np.arange(5), image=ones, text=ones, status=np.ones(5, np.uint8))
        writer.commit(image_head=np.eye(2), text_head=np.eye(2), logit_scale=1.0)
    found = targets_of(frame)
    assert [target.name for target in found] == ["val", "a", "b", "c"]
    for target in found:
        scored = scoring_set(pool, target=target.name, plan=BlockPlan())
        assert (target.pairs, target.scored) == (len(scored.target_rows), len(scored.rows)), target


def test_why_not__says_what_is_lacking() -> None:
    assert why_not(entry("x"), FACTS, target=None, mode="audit").startswith("needs pairs")
    assert why_not(entry("x", "two pairs or more", "class prompts"), FACTS, target=TARGET, mode="paper") == ""
    bare = Target("val", "split", pairs=1, scored=1, labelled=False, scored_labelled=False)
    lacking = why_not(entry("x", "class labels of the pool"), FACTS, target=bare, mode="audit")
    assert lacking == "needs class labels of the pool"
    assert "audit" in why_not(entry("x", "heads fitted to the pool"), FACTS, target=TARGET, mode="paper")


@pytest.mark.parametrize(
    ("mode", "there", "gone"), [("audit", "chips_audit", "chips_paper"), ("paper", "chips_paper", "chips_audit")]
)
def test_offered__the_methods_of_a_mode_suggested_ones_first(mode: str, there: str, gone: str) -> None:
    names = [e.name for e in offered([entry("trak"), entry("chips_audit"), entry("chips_paper")], mode=mode)]  # type: ignore[arg-type]
    assert names == [there, "trak"]
    assert gone not in names


def test_steps_for__only_what_is_still_to_do() -> None:
    steps = steps_for("pools/p", CHOICE, FACTS)
    assert [step.step for step in steps] == ["encode", "score", "duplicates", "map"]
    assert steps[1].settings == {"pool": "pools/p", "methods": ["chips_audit"], "target": "val", "mode": "audit"}
    done = Facts(30, (TARGET,), 3, encoder="demo", spaces=frozenset({"image"}), near_known=True)
    assert [step.step for step in steps_for("pools/p", CHOICE, done)] == ["score"]


def test_steps_for__settings_are_those_of_the_steps() -> None:
    from dataclasses import fields

    from chips_core.jobs.steps import step

    for planned in steps_for("p", Choice("ViT-B-32", "tag", "val", "paper", ("x",), ("text",), True), FACTS):
        assert set(planned.settings) <= {field.name for field in fields(step(planned.step).Settings)}


def test_suggested__is_the_score_steps_default() -> None:
    from chips_core.jobs.score import DEFAULT

    assert SUGGESTED == DEFAULT
