"""Runs: the newest is shown unless another is chosen, distributions, and times in words."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from chips_core.pairs_schema import PAIRS
from chips_core.store import Pool
from chips_core.views import runs


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    columns = {name: [f"p{n}" if name == "pair_id" else "" for n in range(4)] for name in PAIRS.names}
    columns |= {"outcome": ["kept"] * 4, "flags": [[]] * 4, "width": [1] * 4, "height": [1] * 4}
    batch = pa.RecordBatch.from_pydict(columns, schema=PAIRS)
    return Pool.create(tmp_path / "p", batches=[batch], record={})


def score(pool: Pool, name: str, **values: list[float]) -> None:
    frame = pd.DataFrame({"pair_id": [f"p{n}" for n in range(4)], "row": range(4)} | values)
    columns = [
        {"column": column, "method": column.partition(".")[0], "meaning": "M.", "higher_is": "suspect", "signed": True}
        for column in values
    ]
    record = {"mode": "paper", "target": "val", "methods": list(values), "columns": columns, "pairs": 4}
    settings = {"trak": {"sketch": 64}} | {column: {} for column in values}
    record |= {"seconds": 65.2, "settings": settings, "left_out": {"ecif": "needs labels"}}
    pool.write_table("scores", name, frame, record=record, fingerprint=name)


def test_chosen_run__the_newest_unless_named(pool: Pool) -> None:
    assert runs.chosen_run(pool, None) is None
    score(pool, "one", clipscore=[1.0, 2.0, 3.0, 4.0])
    score(pool, "two", clipscore=[1.0, 2.0, 3.0, 4.0])
    names = [runs.chosen_run(pool, wanted) for wanted in (None, "one", "junk")]
    assert [run.name if run else None for run in names] == ["two", "one", "two"]


def test_chosen_run__one_with_a_queue_goes_before_a_newer_one_without(pool: Pool) -> None:
    """A quick run of one more method must not take the queue away that a person works through."""
    for name, column in (("one", "queue"), ("two", "queue"), ("three", "clipscore")):
        score(pool, name, **{column: [1.0, 2.0, 3.0, 4.0]})
    names = [runs.chosen_run(pool, wanted) for wanted in (None, "three", "one")]
    assert [run.name if run else None for run in names] == ["two", "three", "one"]


def test_run_table__and_settings(pool: Pool) -> None:
    assert runs.run_table(pool).empty
    score(pool, "one", clipscore=[1.0, 2.0, 3.0, 4.0])
    line = runs.run_table(pool).iloc[0]
    assert (line["run"], line["target set"], line["pairs"], line["took"]) == ("one", "val", 4, "1 min 05 s")
    run = runs.chosen_run(pool, None)
    assert run is not None
    table = runs.settings_table(run).set_index("setting")["value"]
    assert table["trak: sketch"] == "64"
    assert table["ecif: left out"] == "it needs labels"


def test_score_shapes__our_methods_first_and_each_method_before_its_parts(pool: Pool) -> None:
    score(pool, "one", **{"clipscore": [0.0, 1.0, 2.0, 3.0], "queue": [1.0] * 4, "queue.part": [0.0, -1.0, 1.0, 0.5]})
    shapes = runs.score_shapes(pool, "one")
    assert [shape.column for shape in shapes] == ["queue", "clipscore", "queue.part"]
    assert sum(shapes[1].histogram.counts) == 4
    assert np.isclose(shapes[1].histogram.median, 1.5)
    assert runs.score_shapes(pool, "one", most=1) == shapes[:1]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (float("nan"), ""), (0.04, "0.0 s"), (9.96, "10.0 s"), (42.4, "42 s"), (59.7, "1 min 00 s"),
     (185, "3 min 05 s"), (7800, "2 h 10 min")],
)  # fmt: skip
def test_duration__in_words(seconds: float | None, words: str) -> None:
    assert runs.duration(seconds) == words


def test_between_and_when__odd_times_do_not_break() -> None:
    assert runs.between("2026-01-01T10:00:00+00:00", "2026-01-01T10:01:05+00:00") == "1 min 05 s"
    assert runs.between("2026-01-01T10:00:00+00:00", "") == ""
    assert runs.when("yesterday") == "yesterday"
    assert runs.joined(["a"]) == "a"
    assert runs.joined(["a", "b", "c"]) == "a, b and c"
