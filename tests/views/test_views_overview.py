"""Overview: the one thing to do next in every state, and the facts of the card."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from chips_core.pairs_schema import PAIRS
from chips_core.store import Pool
from chips_core.views import overview
from chips_core.views.pools import pool_state

PAGES = frozenset({"map", "misaligned"})


def make(folder: Path, *, outcomes: list[str]) -> Pool:
    count = len(outcomes)
    columns = {name: [f"p{n}" if name == "pair_id" else "" for n in range(count)] for name in PAIRS.names}
    columns |= {"outcome": outcomes, "flags": [[]] * count, "width": [1] * count, "height": [1] * count}
    columns["label"] = [("x", "y")[n % 2] for n in range(count)]
    batch = pa.RecordBatch.from_pydict(columns, schema=PAIRS)
    return Pool.create(folder / "p", batches=[batch], record={"source_root": "."})


def encode(pool: Pool) -> None:
    with pool.writing("test"):
        count = pool.outcomes().kept
        record = {"encoder": "tiny", "precision": "fp32"}
        writer = pool.feature_writer(fingerprint="f1", count=count, image_dim=2, text_dim=2, record=record)
        ones = np.ones((count, 2), np.float32)
        writer.write(np.arange(count), image=ones, text=ones, status=np.ones(count, np.uint8))
        writer.commit(image_head=np.eye(2), text_head=np.eye(2), logit_scale=1.0)


def score(pool: Pool) -> None:
    ids = pool.kept(["pair_id"])["pair_id"]
    table = pd.DataFrame({"pair_id": ids, "row": range(len(ids)), "queue": np.linspace(0, 1, len(ids))})
    record = {"methods": ["queue"], "pairs": len(ids), "target": "val", "target_pairs": 3, "mode": "audit"}
    pool.write_table("scores", "audit-1", table, record=record, fingerprint="s")


def test_next_step__follows_the_work(tmp_path: Path) -> None:
    def goal(**options: object) -> str:
        return overview.next_step(pool_state(tmp_path / "p"), **options).goal  # type: ignore[arg-type]

    assert goal() == "bring in"
    pool = make(tmp_path, outcomes=["kept"] * 4)
    assert goal() == "compute"
    assert goal(at_work="encode, 5 % done") == "watch"
    encode(pool)
    assert goal(pages=PAGES) == "compute"
    score(pool)
    assert goal(pages=PAGES) == "misaligned"
    assert goal() == "runs"


def test_next_step__an_empty_pool_is_brought_in_again_and_says_why(tmp_path: Path) -> None:
    make(tmp_path, outcomes=["broken"] * 3)
    step = overview.next_step(pool_state(tmp_path / "p"))
    assert step.goal == "bring in"
    assert "3 broken" in step.sentence


def test_pool_card__before_and_after(tmp_path: Path) -> None:
    pool = make(tmp_path, outcomes=["kept", "kept", "missing"])
    card = overview.pool_card(pool)
    assert (card.pairs, card.pairs_note, card.encoder, card.run) == ("2", "of 3 rows given", "none yet", "none yet")
    encode(pool)
    score(pool)
    card = overview.pool_card(pool)
    assert (card.encoder, card.target, card.target_note, card.run) == ("tiny", "val", "3 pairs", "1 method")
    assert card.run_note.startswith("audit mode, ")


def test_outcome_table__adds_up_to_what_was_given(tmp_path: Path) -> None:
    table = overview.outcome_table(make(tmp_path, outcomes=["kept", "broken", "broken"]))
    assert dict(zip(table["outcome"], table["pairs"], strict=True)) == {"kept": 1, "broken": 2}
    assert table["share"].sum() == pytest.approx(1.0)


def test_made_of__only_columns_that_tell_something(tmp_path: Path) -> None:
    pool = make(tmp_path, outcomes=["kept"] * 3 + ["broken"])
    assert [(c.column, c.values, c.counts) for c in overview.made_of(pool)] == [("label", ("x", "y"), (2, 1))]


def test_samples__kept_pairs_only_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    pool = make(tmp_path, outcomes=["broken", "kept", "kept", "missing"])
    drawn = overview.samples(pool, count=9, seed=1)
    assert sorted(sample.row for sample in drawn) == [1, 2]
    assert drawn == overview.samples(pool, count=9, seed=1)
