"""H4: what an export holds is read back by intake, by open_clip's own training code, and as `datasets` lays it out."""

import io
import json
from argparse import Namespace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from export_pools import CAPTIONS, chosen, export, make_pool, pairs_of, step
from PIL import Image

from chips_core.clip.library import open_clip_module
from chips_core.errors import UsageError
from chips_core.store import Pool

SCORES = [0.25, -1.5, 3.0, 1e-7, 0.1 + 0.2, 2.0]
HOLDING_IMAGES = ("webdataset", "huggingface")
SOURCE_OF = {"webdataset": "shards", "huggingface": ".", "csv": "pairs.csv", "jsonl": "pairs.jsonl"}
SOURCE_OF |= {"parquet": "pairs.parquet"}


@pytest.fixture
def pool(tmp_path):
    """The small pool with a run of one score."""
    folder = make_pool(tmp_path)
    table = pd.DataFrame({"pair_id": [f"p{i}" for i in range(6)], "row": range(6), "queue": SCORES})
    described = [{"column": "queue", "method": "queue", "higher_is": "suspect"}]
    record = {"columns": described, "target": "test"}
    Pool.open(folder).write_table("scores", "run", table, record=record, fingerprint="f")
    return folder


def scores_in(to, form):
    """Returns the score of every pair as it stands in the files of an export."""
    if form == "csv":
        table = pd.read_csv(to / "pairs.csv", float_precision="round_trip")
    elif form == "jsonl":
        table = pd.DataFrame(json.loads(line) for line in (to / "pairs.jsonl").read_text().splitlines())
    elif form == "parquet":
        table = pd.read_parquet(to / "pairs.parquet")
    elif form == "huggingface":
        table = pd.concat(pd.read_parquet(path) for path in sorted((to / "data").glob("*.parquet")))
    else:
        import tarfile

        with tarfile.open(to / "shards" / "000000.tar") as shard:
            lines = [shard.extractfile(m).read() for m in shard.getmembers() if m.name.endswith(".json")]
        table = pd.DataFrame(json.loads(line) for line in lines)
    return dict(zip(table["pair_id"], table["queue"], strict=True))


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "webdataset", "huggingface"])
def test_export__h4_intake_reads_the_same_pairs_and_scores_back(pool, tmp_path, form):
    chosen(pool)
    to = tmp_path / "out"
    settings = {} if form in HOLDING_IMAGES else {"images": "copy"}
    answer = export(pool, to, form=form, columns=["label", "split", "queue"], **settings)
    assert answer["pairs"] == 5
    step("intake", source=str(to / SOURCE_OF[form]), pool=str(tmp_path / "again"), workers=1)
    expected = {i: found for i, found in pairs_of(pool).items() if i != "p5"}
    if form == "csv":
        expected["p3"] = ("'=1+1", "b")  # documented: a cell like a formula
    assert pairs_of(tmp_path / "again") == expected
    assert scores_in(to, form) == {f"p{i}": SCORES[i] for i in range(5)}
    splits = Pool.open(tmp_path / "again").kept(["split"])["split"]
    assert set(splits) == {"train"}


def test_export__unknown_columns_are_refused(pool, tmp_path):
    with pytest.raises(UsageError):
        export(pool, tmp_path / "no", selection="all", columns=["outcome"])


def loader_of(kind, data, *, count, transform):
    """Returns what open_clip's own training would read, at a batch of one."""
    open_clip_module()  # so that torchvision can be imported
    from open_clip_train.data import get_csv_dataset, get_wds_dataset

    asked = Namespace(
        train_data=str(data), train_num_samples=None, train_data_upsampling_factors=None, dataset_resampled=False,
        seed=0, batch_size=1, workers=1, world_size=1, distributed=False,
        csv_img_key="filepath", csv_caption_key="title", csv_separator="\t",
    )  # fmt: skip
    make = get_wds_dataset if kind == "webdataset" else get_csv_dataset
    info = make(
        asked, transform, is_train=True, tokenizer=lambda texts: [texts if isinstance(texts, str) else texts[0]]
    )
    assert info.dataloader.num_samples == count
    return info.dataloader


def as_given(texts):
    """A tokenizer that keeps the text; open_clip takes the first of what it returns."""
    return [texts if isinstance(texts, str) else texts[0]]


def size_of(image):
    """A transform: the size tells which pair it is."""
    import torch

    return torch.tensor(image.size)


def test_export__h4_open_clip_trains_from_the_csv(pool, tmp_path, monkeypatch):
    chosen(pool)
    to = tmp_path / "out"
    answer = export(pool, to, form="openclip")
    assert answer["pairs"] == 4  # "NA" would be read as missing
    assert any("missing" in words for words in answer["warnings"])
    monkeypatch.chdir(to)
    read = {
        texts[0]: sizes[0].tolist() for sizes, texts in loader_of("csv", to / "train.csv", count=4, transform=size_of)
    }
    assert read == {caption: [8 + i, 9] for i, caption in enumerate(CAPTIONS[:5]) if caption != "NA"}


def test_export__h4_open_clip_trains_from_the_shards(pool, tmp_path):
    chosen(pool)
    to = tmp_path / "out"
    export(pool, to, form="webdataset", shard_size=2)
    assert json.loads((to / "shards" / "sizes.json").read_text()) == {
        "000000.tar": 2, "000001.tar": 2, "000002.tar": 1
    }  # fmt: skip
    shards = to / "shards" / "{000000..000002}.tar"
    found = {tuple(sizes[0].tolist()) for sizes, _ in loader_of("webdataset", shards, count=5, transform=size_of)}
    assert found == {(8 + i, 9) for i in range(5)}


def test_export__h4_the_layout_that_datasets_documents(pool, tmp_path):
    to = tmp_path / "out"
    export(pool, to, form="huggingface", selection="all", shard_size=2, columns=["label", "split", "queue"])
    names = sorted(path.name for path in (to / "data").iterdir())
    assert names == ["test-00000.parquet", "train-00000.parquet", "train-00001.parquet", "train-00002.parquet"]
    head = (to / "README.md").read_text().split("---\n")[1]
    assert "configs:\n- config_name: default\n  data_files:\n" in head
    assert "  - split: train\n    path: data/train-*\n" in head
    assert "  - split: test\n    path: data/test-*\n" in head
    assert "  - name: image\n    dtype: image\n" in head
    assert "  - name: train\n    num_examples: 5\n" in head
    schema = pq.read_schema(to / "data" / "train-00000.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["caption"] == {"dtype": "string", "_type": "Value"}
    assert features["queue"] == {"dtype": "float64", "_type": "Value"}
    assert set(features) == set(schema.names)
    cell = pq.read_table(to / "data" / "test-00000.parquet")["image"][0].as_py()
    assert Image.open(io.BytesIO(cell["bytes"])).size == (13, 9)
    assert not Image.open(io.BytesIO(cell["bytes"])).info
    assert Path(cell["path"]).name == cell["path"]


def test_export__huggingface_of_nothing_still_has_a_split(pool, tmp_path):
    chosen(pool, budget="0")
    export(pool, tmp_path / "out", form="huggingface")
    assert pq.read_table(tmp_path / "out" / "data" / "train-00000.parquet").num_rows == 0
    assert "num_examples: 0" in (tmp_path / "out" / "README.md").read_text()
