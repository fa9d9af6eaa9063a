"""Pools in every state that a page may meet, made by code, and a way to run a page on one of them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from streamlit.testing.v1 import AppTest
from tiny import tiny_dataset, tiny_model

from chips_core.jobs.steps import run_step
from chips_core.pairs_schema import PAIRS
from chips_core.progress import Silent
from chips_core.store import Pool
from chips_core.store.manifest import sealed

ROOT = Path(__file__).resolve().parents[2]
MANY = 10_000
SECONDS = 120


def no_pool(folder: Path) -> Path:
    """Returns the place of a pool that is not there."""
    return folder / "none"


def empty(folder: Path) -> Path:
    """Returns a pool of no rows."""
    return Pool.create(folder / "empty", batches=[], record={"source_root": "."}).path


def one_pair(folder: Path) -> Path:
    """Returns a pool of one pair, encoded; there is no other pair to score it against."""
    return _encoded(folder, count=1)


def all_broken(folder: Path) -> Path:
    """Returns a pool in which no image can be read."""
    columns = _columns(7) | {"outcome": ["broken"] * 7, "reason": ["it ends too early"] * 7}
    return Pool.create(folder / "broken", batches=[_batch(columns)], record={"source_root": "."}).path


def damaged(folder: Path) -> Path:
    """Returns a pool with one changed byte in its manifest."""
    path = not_encoded(folder)
    text = (path / "pool.json").read_bytes()
    (path / "pool.json").write_bytes(text.replace(b'"created": "2', b'"created": "3', 1))
    return path


def newer(folder: Path) -> Path:
    """Returns a pool that a later version wrote."""
    path = not_encoded(folder)
    document = json.loads((path / "pool.json").read_text())
    document.pop("sha256")
    (path / "pool.json").write_bytes(sealed(document | {"version": 99}))
    return path


def not_encoded(folder: Path) -> Path:
    """Returns a pool as intake leaves it."""
    source = tiny_dataset(folder / "source", count=24)
    run_step("intake", {"source": str(source), "pool": str(folder / "plain"), "workers": 1}, progress=Silent())
    return folder / "plain"


def scored(folder: Path) -> Path:
    """Returns a small pool that is encoded, scored, mapped and looked through for duplicates."""
    path = _encoded(folder, count=36)
    methods = ["clipscore", "negcliploss", "chips", "ecif"]
    asked = {"pool": str(path), "methods": methods, "mode": "paper", "block": 8, "reshuffles": 1}
    run_step("score", asked, progress=Silent())
    run_step("duplicates", {"pool": str(path), "workers": 1}, progress=Silent())
    run_step("map", {"pool": str(path), "neighbours": 5}, progress=Silent())
    return path


def demo(folder: Path) -> Path:
    """Returns a demo as `chips demo` builds it, of fewer phantoms: its images, its model, its audit, its map."""
    path = folder / "demo"
    run_step("demo", {"pool": str(path), "train": 120, "val": 30, "test": 30}, progress=Silent())
    return path


def damaged_scores(folder: Path) -> Path:
    """Returns a pool of which one bit of the scores is not what was written."""
    return _flipped(many(folder), "scores/*.parquet")


def damaged_features(folder: Path) -> Path:
    """Returns a pool of which one bit of the features is not what was written."""
    return _flipped(many(folder), "features/*/image.npy")


def many(folder: Path) -> Path:
    """Returns a pool of 10,000 pairs with features, a run and a map, whose images are not there."""
    pool = Pool.create(folder / "many", batches=[_batch(_columns(MANY))], record={"source_root": "."})
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(MANY, 8)).astype(np.float32)
    with pool.writing("test"):
        writer = pool.feature_writer(
            fingerprint="f1", count=MANY, image_dim=8, text_dim=8, record={"encoder": "made up", "precision": "fp32"}
        )
        writer.write(np.arange(MANY), image=vectors, text=vectors, status=np.ones(MANY, np.uint8))
        writer.commit(image_head=np.eye(8), text_head=np.eye(8), logit_scale=4.0)
        ids = [f"p{number:05d}" for number in range(MANY)]
        values = pd.Series(draw.normal(size=MANY).astype(np.float32))
        column = {"column": "clipscore", "method": "clipscore", "name": "clipscore", "meaning": "Cosine."}
        record = {
            "features": "f1", "target": "val", "mode": "paper", "methods": ["clipscore"], "pairs": MANY, "seconds": 1.0,
            "target_pairs": 10, "columns": [column | {"higher_is": "valuable", "signed": False}],
        }  # fmt: skip
        table = pd.DataFrame({"pair_id": ids, "row": np.arange(MANY), "clipscore": values})
        pool.write_table("scores", "paper-1", table, record=record, fingerprint="s1")
        places = pd.DataFrame({"pair_id": ids, "row": np.arange(MANY), "x": vectors[:, 0], "y": vectors[:, 1]})
        pool.write_table("maps", "image-1", places, record={"space": "image", "features": "f1"}, fingerprint="m1")
    return pool.path


STATES: dict[str, Callable[[Path], Path]] = {
    "none": no_pool,
    "empty": empty,
    "one pair": one_pair,
    "all broken": all_broken,
    "damaged": damaged,
    "damaged scores": damaged_scores,
    "damaged features": damaged_features,
    "newer": newer,
    "not encoded": not_encoded,
    "scored": scored,
    "demo": demo,
    "many": many,
}
"""How each state is made; given a folder of its own, returns the pool's folder."""


def page_files() -> list[str]:
    """Returns the files of the pages that the navigation names."""
    import re

    text = (ROOT / "pages" / "navigation.py").read_text(encoding="utf-8")
    return re.findall(r'st\.Page\("(\w+\.py)"', text)


def app(page: str = "overview.py", *, query: dict[str, str] | None = None) -> AppTest:
    """Returns the app at a page, run; CHIPS_POOL and CHIPS_ROOTS say what it finds."""
    test = AppTest.from_file(str(ROOT / "pages" / "navigation.py"), default_timeout=SECONDS)
    for name, value in (query or {}).items():
        test.query_params[name] = value
    test.run()
    return test if page == "overview.py" else test.switch_page(page).run()


def words(test: AppTest) -> str:
    """Returns everything that the page says."""
    kinds = (
        test.title, test.subheader, test.markdown, test.text, test.info, test.error, test.warning, test.button,
        test.metric, test.caption, test.success,
    )  # fmt: skip
    shown = [str(getattr(found, "value", "") or getattr(found, "label", "")) for kind in kinds for found in kind]
    return "\n".join(shown + [str(getattr(button, "label", "")) for button in test.button])


def _encoded(folder: Path, *, count: int) -> Path:
    source, model = tiny_dataset(folder / "source", count=count), tiny_model(folder / "model")
    path = folder / "pool"
    run_step("intake", {"source": str(source), "pool": str(path), "workers": 1}, progress=Silent())
    asked = {"pool": str(path), "model": str(model), "precision": "fp32", "device": "cpu", "batch": 16, "workers": 1}
    run_step("encode", asked, progress=Silent())
    return path


def _flipped(path: Path, pattern: str) -> Path:
    found = sorted(path.glob(pattern))[0]
    content = bytearray(found.read_bytes())
    content[len(content) // 2] ^= 1
    found.write_bytes(bytes(content))
    return path


def _columns(count: int) -> dict[str, list[object]]:
    numbers = range(count)
    given = {
        "pair_id": [f"p{number:05d}" for number in numbers],
        "image": [f"images/{number:05d}.png" for number in numbers],
        "caption": [f"Caption {number} **bold** :red[x] $a$ <script>alert(1)</script>" for number in numbers],
        "label": [("disc", "bar", "ring")[number % 3] for number in numbers],
        "split": [("train", "train", "train", "val", "test")[number % 5] for number in numbers],
        "group": [f"g{number // 3}" for number in numbers],
        "outcome": ["kept"] * count,
        "flags": [[] for _ in numbers],
        "image_sha256": [f"{number // 2:064x}" for number in numbers],
        "width": [8] * count,
        "height": [8] * count,
    }
    return {name: list(given.get(name, [""] * count)) for name in PAIRS.names}


def _batch(columns: dict[str, list[object]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns, schema=PAIRS)
