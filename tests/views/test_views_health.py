"""Health: every count by hand, on a pool of ten rows."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from chips_core.pairs_schema import PAIRS
from chips_core.store import Pool
from chips_core.views.health import finding_table, health_of, pairs_of

LINES = [
    # id, image's hash, caption, label, split, patient, outcome, flags
    ("a", "1", "left lung", "x", "train", "g1", "kept", []),
    ("b", "1", "Left lung.", "x", "test", "g2", "kept", []),  # a's image in test; the same caption but for its writing
    ("c", "2", "heart", "x", "train", "g3", "kept", ["uninformative caption"]),
    ("d", "2", "liver", "y", "train", "g3", "kept", []),  # c's image: other caption, other label
    ("e", "3", "spine", "x", "train", "g4", "kept", []),
    ("f", "3", "spine", "x", "test", "g4", "duplicate", []),  # an exact pair in test: a leak, of image and of patient
    ("g", "", "hand", "x", "train", "g4", "missing", []),
    ("h", "4", "", "x", "train", "", "empty caption", []),
    ("i", "", "foot", "x", "test", "g1", "broken", []),  # not kept: no leak of patient g1
    ("j", "5", "knee", "", "val", "", "kept", ["uninformative caption", "tiny image"]),
]


def make(folder: Path) -> Pool:
    names = ("pair_id", "image_sha256", "caption", "label", "split", "group", "outcome", "flags")
    columns = {name: [line[n] for line in LINES] for n, name in enumerate(names)}
    for name in PAIRS.names:
        columns.setdefault(name, [1 if name in ("width", "height") else "" for _ in LINES])
    batch = pa.RecordBatch.from_pydict({name: columns[name] for name in PAIRS.names}, schema=PAIRS)
    return Pool.create(folder / "pool", batches=[batch], record={})


def rows(pool: Pool) -> dict[str, tuple[int, ...]]:
    return {finding.key: finding.rows for finding in health_of(pool).findings}


def test_health_of__counts_by_hand(tmp_path: Path) -> None:
    pool = make(tmp_path)
    assert rows(pool) == {
        "leaks": (0, 1, 4, 5),
        "patients": (4, 5),
        "labels": (2, 3),
        "captions": (2, 3),
        "empty": (7,),
        "flag-uninformative": (2, 9),
        "exact": (0, 1, 2, 3, 4, 5),
        "flag-tiny": (9,),
        "outcome-broken": (8,),
        "outcome-missing": (6,),
    }
    assert not health_of(pool).near_known
    assert [finding.weight for finding in health_of(pool).findings] == ["look"] * 6 + ["know"] * 4


def test_health_of__near_duplicates_join_in_when_they_are_known(tmp_path: Path) -> None:
    pool = make(tmp_path)
    before = rows(pool)
    table = pd.DataFrame({"input_row": [4, 9], "group": [0, 0]}).astype("int64")
    pool.write_table("duplicates", "near-24", table, record={}, fingerprint="n")
    pool = Pool.open(pool.path)
    assert health_of(pool).near_known
    assert rows(pool)["near"] == (4, 9)
    assert 9 in rows(pool)["leaks"]  # train and val
    assert 9 not in before["leaks"]


def test_health_of__cut_captions(tmp_path: Path) -> None:
    pool = make(tmp_path)
    table = pd.DataFrame({"pair_id": ["c", "e"], "lost_tokens": pd.array([3, 4], dtype="int32")})
    pool.write_table("captions", "f1", table, record={"context_length": 77}, fingerprint="f1")
    found = health_of(Pool.open(pool.path)).finding("cut")
    assert found is not None
    assert found.rows == (2, 4)
    assert "77 tokens" in found.meaning


def test_pairs_of__the_pairs_behind_a_count(tmp_path: Path) -> None:
    pool = make(tmp_path)
    finding = health_of(pool).finding("leaks")
    assert finding is not None
    shown = pairs_of(pool, finding, first=1, count=2)
    assert [(pair.row, pair.pair_id, pair.remark) for pair in shown] == [
        (1, "b", "group 1 · test"),
        (4, "e", "group 2 · train"),
    ]
    alone = health_of(pool).finding("flag-uninformative")
    assert alone is not None
    assert [pair.remark for pair in pairs_of(pool, alone)] == ["train · x", "val"]


def test_finding_table__one_line_a_finding(tmp_path: Path) -> None:
    table = finding_table(health_of(make(tmp_path)))
    first = table.iloc[0]
    assert (first["finding"], first["pairs"], first["groups"]) == ("Image in several splits", 4, "2")
    assert "" in set(table["groups"])


def test_health_of__an_empty_pool_has_no_findings(tmp_path: Path) -> None:
    assert health_of(Pool.create(tmp_path / "p", batches=[], record={})).findings == ()
