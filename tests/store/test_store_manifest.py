"""pool.json is read as if a stranger had written it (M3, M4), and one changed bit in it is noticed (M1)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import flipped
from hypothesis import given
from hypothesis import strategies as st
from small_pools import encode, make_pool

from chips_core.errors import PoolDamaged, PoolNotFound, PoolTooNew
from chips_core.store import Pool, check_pool
from chips_core.store.manifest import SIZE_LIMIT, as_document, parsed, sealed
from chips_core.store.paths import checked_relative, inside
from chips_core.store.upgrades import CURRENT, upgraded

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    pool = make_pool(tmp_path_factory.mktemp("manifest") / "pool")
    encode(pool)
    return pool


def changed(pool: Pool, change: Change) -> bytes:
    """A manifest that somebody changed and sealed again, as an attacker can."""
    document = json.loads(json.dumps(as_document(pool.manifest)))
    change(document)
    return sealed(document)


def test_parsed__what_was_sealed_comes_back(pool: Pool) -> None:
    assert parsed((pool.path / "pool.json").read_bytes()) == pool.manifest


def test_m1__a_manifest_with_a_flipped_bit_is_refused(pool: Pool) -> None:
    data = (pool.path / "pool.json").read_bytes()
    for bit in np.random.default_rng(0).choice(len(data) * 8, size=200, replace=False).tolist():
        with pytest.raises(PoolDamaged):
            parsed(flipped(data, bit=bit))


@given(cut=st.integers(0, 10_000))
def test_m2__a_cut_manifest_is_refused(pool: Pool, cut: int) -> None:
    data = (pool.path / "pool.json").read_bytes()
    with pytest.raises(PoolDamaged):
        parsed(data[: min(cut, len(data) - 1)])


@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_m4__random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(PoolDamaged):
        parsed(data)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
WHERE = [
    ("version",), ("id",), ("fingerprint",), ("created",), ("intake",), ("artifacts",), ("artifacts", "pairs"),
    ("artifacts", "pairs", "files"), ("artifacts", "pairs", "files", 0), ("artifacts", "pairs", "files", 0, "path"),
    ("artifacts", "pairs", "files", 0, "bytes"), ("artifacts", "pairs", "files", 0, "sha256"),
    ("artifacts", "features/f1", "kind"), ("artifacts", "features/f1", "record"),
]  # fmt: skip


@given(where=st.sampled_from(WHERE), value=plain)
def test_m4__any_value_anywhere_is_refused_or_read_back_the_same(
    pool: Pool, where: tuple[Any, ...], value: object
) -> None:
    def put(document: Any) -> None:
        for step in where[:-1]:
            document = document[step]
        document[where[-1]] = value

    data = changed(pool, put)
    try:
        found = parsed(data)
    except PoolDamaged:
        return
    assert sealed(as_document(found)) == data


@pytest.mark.parametrize("key", ["format", "version", "id", "fingerprint", "created", "intake", "artifacts"])
def test_m4__a_missing_key_is_named(pool: Pool, key: str) -> None:
    with pytest.raises(PoolDamaged, match=f"'{key}' is missing"):
        parsed(changed(pool, lambda document: document.pop(key)))


@pytest.mark.parametrize("key", ["kind", "fingerprint", "created", "record", "files"])
def test_m4__a_missing_key_of_an_artifact_is_named(pool: Pool, key: str) -> None:
    with pytest.raises(PoolDamaged, match=f"artifact 'pairs'.*'{key}' is missing"):
        parsed(changed(pool, lambda document: document["artifacts"]["pairs"].pop(key)))


def test_m4__an_unknown_key_is_named(pool: Pool) -> None:
    with pytest.raises(PoolDamaged, match="'surprise' is unknown"):
        parsed(changed(pool, lambda document: document.update(surprise=1)))


def test_m4__a_key_given_twice_is_refused(pool: Pool) -> None:
    text = (pool.path / "pool.json").read_bytes().replace(b'"id":', b'"id": "other",\n "id":', 1)
    with pytest.raises(PoolDamaged, match="twice"):
        parsed(text)


def test_m4__without_pairs_is_refused(pool: Pool) -> None:
    with pytest.raises(PoolDamaged, match="'pairs' is missing"):
        parsed(changed(pool, lambda document: document["artifacts"].pop("pairs")))


@pytest.mark.parametrize("version", [CURRENT + 1, 99])
def test_m3__a_pool_from_the_future_is_told(pool: Pool, version: int) -> None:
    with pytest.raises(PoolTooNew, match=str(version)):
        parsed(changed(pool, lambda document: document.update(version=version, surprise=1)))


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "/etc/passwd", "a/../../x", "..", ".", "", "a//b", "a/./b", "./a", "C:\\x", "\\\\host\\s",
     "a\0b", "file:x", "x" * 600, 5, None, ["a"]],
)  # fmt: skip
def test_m4__a_path_that_leaves_the_pool_is_refused(pool: Pool, path: object) -> None:
    def put(document: dict[str, Any]) -> None:
        document["artifacts"]["pairs"]["files"][0]["path"] = path

    with pytest.raises(PoolDamaged):
        parsed(changed(pool, put))


@given(text=st.text(st.sampled_from("ab/.\\:\0~ é"), max_size=12))
def test_m4__a_path_that_passes_stays_inside(text: str) -> None:
    try:
        checked_relative(text, where="x")
    except PoolDamaged:
        return
    root = Path("/root of the pool")
    assert root in (root / text).parents
    assert ".." not in Path(text).parts


def test_m4__a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "real").touch()
    (tmp_path / "pool" / "file").symlink_to("/etc/hostname")
    (tmp_path / "pool" / "folder").symlink_to("/etc")
    (tmp_path / "link to pool").symlink_to(tmp_path / "pool")
    for relative in ("file", "folder/hostname"):
        with pytest.raises(PoolDamaged, match="link"):
            inside(tmp_path / "pool", relative)
    assert inside(tmp_path / "link to pool", "real").name == "real"  # the pool itself may be reached through one


def test_m4__a_hundred_megabytes_are_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "pool.json").open("wb") as handle:
        handle.truncate(100 << 20)
    with pytest.raises(PoolDamaged, match=f"larger than {SIZE_LIMIT:,}"):
        Pool.open(tmp_path)


def test_open__no_pool_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(PoolNotFound):
            Pool.open(path)


def test_m1__a_damaged_manifest_is_a_finding(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "pool.json").write_bytes(flipped((pool.path / "pool.json").read_bytes(), bit=2_000))
    report = check_pool(tmp_path)
    assert [finding.file for finding in report.findings] == ["pool.json"]
    assert not report.sound


def test_m7__upgrades_run_every_step_once_in_order() -> None:
    steps = {
        1: lambda document: {**document, "log": [*document["log"], 1]},
        2: lambda document: {**document, "log": [*document["log"], 2]},
    }
    assert upgraded({"version": 1, "log": []}, upgrades=steps, current=3) == {"version": 3, "log": [1, 2]}
    assert upgraded({"version": 2, "log": []}, upgrades=steps, current=3) == {"version": 3, "log": [2]}
    with pytest.raises(PoolDamaged, match="never existed"):
        upgraded({"version": 1}, upgrades={}, current=2)
