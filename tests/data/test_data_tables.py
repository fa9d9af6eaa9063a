"""Cases B1-B8: text is kept exactly as written, and what cannot be kept is refused by file, line and byte."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import make
from hypothesis import given
from hypothesis import strategies as st

from chips_core.data import ColumnMap, SourceKind, examine, open_source, recognise
from chips_core.errors import InputError, UsageError
from chips_core.pairs_schema import PAIRS

CAPTIONS = [
    "NA",
    "None",
    "null",
    "nan",
    "n/a",
    "",
    "  ",
    "NULL",
    "-",
    "0",
    "true",
    "1e5",
    "a, b",
    'say "x"',
    "two\nlines",
]
IDS = ["00123", "1e5", "1_000", "9999999999999999999", " 7", "NA", "0x10", "1.0", "-0"]


def write(path: Path, rows: list[dict[str, str]], *, form: str) -> Path:
    """Writes the same rows as csv, tsv, semicolon csv, jsonl or parquet."""
    names = list(rows[0])
    if form == "jsonl":
        path = path.with_suffix(".jsonl")
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif form == "parquet":
        path = path.with_suffix(".parquet")
        pq.write_table(pa.table({name: [row[name] for row in rows] for name in names}), path)
    else:
        delimiter = {"csv": ",", "tsv": "\t", "semicolon": ";"}[form]
        path = path.with_suffix(".tsv" if form == "tsv" else ".csv")
        out = io.StringIO()
        writer = csv.DictWriter(out, names, delimiter=delimiter, lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)
        path.write_bytes(b"\xef\xbb\xbf" + out.getvalue().encode())
    return path


@pytest.mark.parametrize("form", ["csv", "tsv", "semicolon", "jsonl", "parquet"])
def test_b1__captions_that_look_like_nothing_are_kept_exactly(form: str, tmp_path: Path):
    (tmp_path / "a.png").write_bytes(make.encoded("PNG"))
    rows = [{"pair_id": f"p{i}", "image": "a.png", "caption": text} for i, text in enumerate(CAPTIONS)]
    (batch,) = examine(open_source(write(tmp_path / "t", rows, form=form)))
    assert batch["caption"].to_pylist() == CAPTIONS
    outcomes = batch["outcome"].to_pylist()
    assert [text for text, outcome in zip(CAPTIONS, outcomes, strict=True) if outcome == "empty caption"] == ["", "  "]
    assert outcomes.count("kept") == len(CAPTIONS) - 2


def test_b1__null_is_the_empty_caption_and_never_the_word(tmp_path: Path):
    (tmp_path / "t.jsonl").write_text('{"image": "a.png", "caption": null}\n{"image": "a.png", "caption": NaN}\n')
    assert [row.caption for row in open_source(tmp_path / "t.jsonl").rows()] == ["", "NaN"]
    pq.write_table(pa.table({"image": ["a"], "caption": pa.array([None], pa.string())}), tmp_path / "t.parquet")
    assert [row.caption for row in open_source(tmp_path / "t.parquet").rows()] == [""]


@pytest.mark.parametrize("form", ["csv", "tsv", "semicolon", "jsonl", "parquet"])
def test_b2__ids_come_back_as_written_and_a_byte_order_mark_eats_nothing(form: str, tmp_path: Path):
    rows = [{"pair_id": text, "image": "a.png", "caption": "x"} for text in IDS]
    source = open_source(write(tmp_path / "t", rows, form=form))
    assert source.columns_found == ["pair_id", "image", "caption"]
    assert [row.pair_id for row in source.rows()] == IDS


def test_b2__numbers_in_json_and_parquet_keep_their_digits(tmp_path: Path):
    (tmp_path / "t.jsonl").write_text('{"id": 1e5, "image": "a", "caption": "x"}\n{"id": 12345678901234567890}\n')
    assert [row.pair_id for row in open_source(tmp_path / "t.jsonl").rows()] == ["1e5", "12345678901234567890"]
    table = pa.table({"id": pa.array([2**63 - 1], pa.int64()), "image": ["a"], "caption": ["x"]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert [row.pair_id for row in open_source(tmp_path / "t.parquet").rows()] == [str(2**63 - 1)]


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6), st.sampled_from(["csv", "tsv", "semicolon", "jsonl"]))
def test_b2__any_text_survives(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], form: str):
    rows = [{"pair_id": f"x{key}", "image": "a.png", "caption": text} for key, text in pairs]
    path = write(tmp_path_factory.mktemp("t") / "t", rows, form=form)
    found = list(open_source(path).rows())
    assert [(row.pair_id, row.caption) for row in found] == [(row["pair_id"], row["caption"]) for row in rows]


@pytest.mark.parametrize("attack", [*make.of("table"), *make.of("parquet")], ids=lambda attack: attack.name)
def test_b4_b7_b8__table_attacks_are_refused_by_row_or_as_a_whole_with_the_name(attack: make.Attack, tmp_path: Path):
    (tmp_path / "a.png").write_bytes(make.encoded("PNG"))
    path = attack.make(tmp_path)
    if attack.expected == (make.REFUSED_SOURCE,):
        with pytest.raises(InputError) as told:
            list(open_source(path).rows())
        assert path.name in str(told.value)
    else:
        found = pa.Table.from_batches(examine(open_source(path)), PAIRS).to_pylist()
        assert found[-1]["outcome"] in attack.expected
        assert path.name in found[-1]["reason"]
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("make_bad", "words"),
    [
        (make.bad_utf8, "latin.csv:2: caption: byte 0xe9 is not UTF-8"),
        (make.nul_byte, "nul.csv:2: caption: byte 0x00"),
        (make.ragged_row, "ragged.csv:2: 4 cells where the header has 2"),
        (make.ten_megabyte_cell, "long.csv:2: caption: 10,000,000 characters, at most 100,000 are taken"),
    ],
)
def test_b4__the_reason_names_file_line_and_byte(make_bad: make.Callable[[Path], Path], words: str, tmp_path: Path):
    (row,) = open_source(make_bad(tmp_path)).rows()
    assert (row.outcome, row.reason) == ("refused", words)
    assert row.caption == ""


def test_b4__rows_around_a_bad_one_are_kept_and_lines_counted_through_quotes(tmp_path: Path):
    text = 'image,caption\r\na.png,"two\r\nlines"\r\n\r\nb.png,x,y\r\n"c"d.png,x\r\ne.png,last\r\n'
    (tmp_path / "t.csv").write_bytes(text.encode())
    rows = list(open_source(tmp_path / "t.csv").rows())
    assert [row.caption for row in rows] == ["two\r\nlines", "", "", "last"]
    assert [row.reason for row in rows[1:3]] == [
        "t.csv:5: 3 cells where the header has 2",
        "t.csv:6: text after a closing quote",
    ]
    assert [row.number for row in rows] == [1, 2, 3, 4]


@given(st.binary(max_size=200))
def test_b4__any_bytes_as_a_table_are_parsed_or_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes):
    folder = tmp_path_factory.mktemp("noise")
    for name in ("t.csv", "t.tsv", "t.jsonl", "t.parquet"):
        path = folder / name
        path.write_bytes((b"" if name == "t.parquet" else b"image,caption\n") + noise)
        try:
            batches = list(examine(open_source(path)))
        except InputError:
            continue
        for batch in batches:
            batch.validate(full=True)


def test_b6__a_missing_column_lists_those_found_and_expected(tmp_path: Path):
    with pytest.raises(
        InputError, match=r"no column for caption. Found: 'image', 'age'. Expected: caption \(caption, text"
    ):
        open_source(make.no_caption_column(tmp_path)).preview(1)


@pytest.mark.parametrize("rows", [0, 1])
def test_b6__no_row_and_one_row_are_read(rows: int, tmp_path: Path):
    (tmp_path / "pairs.csv").write_text("image,caption\n" + "a.png,x\n" * rows)
    source = open_source(tmp_path)
    assert source.kind is SourceKind.DATASET_FOLDER
    assert sum(batch.num_rows for batch in examine(source)) == rows


def test_columns__are_guessed_and_overridden(tmp_path: Path):
    header = "Image Index,Finding Labels,Patient ID,report,comment,partition\n"
    (tmp_path / "t.csv").write_text(header + "a.png,Effusion,7,a report,a comment,Validation\n")
    source = open_source(tmp_path / "t.csv")
    assert source.mapping == ColumnMap(
        image="Image Index", caption="report", label="Finding Labels", split="partition", group="Patient ID"
    )
    (row,) = source.rows()
    assert (row.caption, row.label, row.group, row.split, row.pair_id) == (
        "a report",
        "Effusion",
        "7",
        "val",
        "row-00000001",
    )
    chosen = open_source(tmp_path / "t.csv", columns=ColumnMap(caption="comment", label=""))
    assert [(row.caption, row.label) for row in chosen.rows()] == [("a comment", "")]
    with pytest.raises(UsageError, match="no column 'coment', did you mean 'comment'"):
        open_source(tmp_path / "t.csv", columns=ColumnMap(caption="coment"))


def test_image_root__lies_elsewhere_and_absolute_paths_inside_it_become_relative(tmp_path: Path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.png").write_bytes(make.encoded("PNG"))
    (tmp_path / "t.csv").write_text(f"image,caption\na.png,one two three\n{tmp_path}/files/a.png,four five six\n")
    source = open_source(tmp_path / "t.csv", image_root=tmp_path / "files")
    (batch,) = examine(source)
    assert batch["image"].to_pylist() == ["a.png", "a.png"]
    assert batch["outcome"].to_pylist() == ["kept", "kept"]


def hub_table(path: Path, *, rows: int = 5) -> Path:
    """Writes a Parquet file as data hubs do: {bytes, path} images, class numbers with names in the metadata."""
    images = [
        {"bytes": make.encoded("PNG", image=make.picture(seed=1000 * rows + i)), "path": None} for i in range(rows - 1)
    ]
    images.append({"bytes": None, "path": "beside.png"})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"image": {"_type": "Image"}, "label": {"names": ["benign", "malignant"], "_type": "ClassLabel"}}
    schema = pa.schema(
        [("image", kind), ("label", pa.int64()), ("text", pa.string())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    data = {"image": images, "label": [i % 2 for i in range(rows)], "text": [f"case number {i}" for i in range(rows)]}
    pq.write_table(pa.table(data, schema=schema), path, row_group_size=2)
    return path


def test_parquet__image_bytes_and_class_names_are_read_as_hubs_store_them(tmp_path: Path):
    hub_table(tmp_path / "train-00000-of-00002.parquet")
    hub_table(tmp_path / "test-00001-of-00002.parquet", rows=3)
    (tmp_path / "beside.png").write_bytes(make.encoded("PNG", image=make.picture((50, 60))))
    source = open_source(tmp_path)
    assert (recognise(tmp_path), source.count_hint) == (SourceKind.TABLE, 8)
    found = pa.Table.from_batches(examine(source), PAIRS).to_pylist()
    assert [row["split"] for row in found] == ["test"] * 3 + ["train"] * 5
    assert [row["label"] for row in found[:3]] == ["benign", "malignant", "benign"]
    assert found[3]["image"] == "train-00000-of-00002.parquet#0:image"
    assert {row["outcome"] for row in found[2:]} == {"kept"}
    assert (found[2]["width"], found[0]["width"]) == (50, 32)


def test_parquet__rows_are_found_in_any_order(tmp_path: Path):
    from chips_core.data import ImageOpener

    source = open_source(hub_table(tmp_path / "t.parquet", rows=300))
    in_order = [row.image for row in source.rows()][:299]
    opener = ImageOpener(tmp_path)
    hashes = {name: opener.read(name).sha256 for name in in_order}
    for index in np.random.default_rng(0).permutation(299)[:40]:
        assert opener.read(in_order[index]).sha256 == hashes[in_order[index]]
    assert len(set(hashes.values())) == 299


@given(st.data())
def test_b8__parquet_cut_or_changed_anywhere_is_our_error_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    folder = tmp_path_factory.mktemp("p")
    good = make.good_parquet(folder / "good.parquet").read_bytes()
    bad = bytearray(good[: data.draw(st.integers(0, len(good)))])
    for _ in range(data.draw(st.integers(0, 6))):
        if bad:
            bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    (folder / "bad.parquet").write_bytes(bad)
    try:
        rows = list(open_source(folder / "bad.parquet").rows())
    except InputError as error:
        if "bad.parquet" not in str(error):
            raise
    else:
        assert all(isinstance(row.caption, str) for row in rows)
