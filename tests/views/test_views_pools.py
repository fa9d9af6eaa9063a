"""Pools and paths: nothing outside the roots is ever looked at, and each state of a pool has its sentence."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips_core.errors import InputError
from chips_core.store import Pool
from chips_core.views.pools import (
    allowed_path,
    find_coming,
    find_pools,
    new_pool_folder,
    pool_state,
    pools_home,
    roots,
    suggested_name,
)

HOSTILE = [
    "../../etc/passwd", "/etc/passwd", "/etc", "C:\\x", "c:/x", "\\\\host\\s", "file:///etc/passwd", "http://x/y",
    "pipe:touch x", "a\0b", "", "   ", "..", "../outside", "inside/../../outside", "x" * 5000, "\u202e", "a\nb", "~",
    "~root", "$HOME", "$(touch x)", "; rm -rf /",
]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.csv").write_text("x")
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    (root / "leads out").symlink_to(tmp_path / "outside")
    (root / "circle").symlink_to(root / "circle")
    monkeypatch.setenv("CHIPS_ROOTS", str(root))
    monkeypatch.delenv("CHIPS_POOL", raising=False)
    return root


@pytest.mark.parametrize("text", [*HOSTILE, "leads out", "leads out/secret.csv", "circle", "not there"])
def test_k6__allowed_path_refuses_what_leads_out(root: Path, text: str) -> None:
    with pytest.raises(InputError) as caught:
        allowed_path(text)
    assert str(root) in caught.value.fix  # K6: the message names the roots
    assert text.strip() not in caught.value.what or not text.strip()  # and repeats nothing


def test_allowed_path__takes_what_lies_inside(root: Path) -> None:
    assert allowed_path("inside") == allowed_path(str(root / "inside")) == root / "inside"
    assert allowed_path(f" {root}/inside/../inside ") == root / "inside"
    assert allowed_path(str(root)) == root


@given(parts=st.lists(st.sampled_from(["..", ".", "inside", "leads out", "outside", "/", "secret.csv"]), max_size=8))
def test_k6__whatever_allowed_path_returns_is_inside(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        base = tmp_path_factory.mktemp("p")
        (base / "root" / "inside").mkdir(parents=True)
        (base / "outside").mkdir()
        (base / "root" / "leads out").symlink_to(base / "outside")
        patch.setenv("CHIPS_ROOTS", str(base / "root"))
        try:
            found = allowed_path("/".join(parts))
        except InputError:
            return
        assert found.resolve().is_relative_to(base / "root")


@pytest.mark.parametrize(
    "name", ["$(touch x)", "; rm", "--help", "-x", "../x", "a/b", ".hidden", "", "a" * 61, "x.", "a\0"]
)
def test_new_pool_folder__refuses_names_that_are_no_names(root: Path, name: str) -> None:
    with pytest.raises(InputError):
        new_pool_folder(name)
    assert sorted(path.name for path in root.iterdir()) == ["circle", "inside", "leads out"]


def test_new_pool_folder__a_folder_with_things_in_it_is_not_new(root: Path) -> None:
    assert new_pool_folder("chest 2.1") == root / "chest 2.1"
    (root / "inside" / "thing").write_text("")
    with pytest.raises(InputError, match="of that name"):
        new_pool_folder("inside")


def test_suggested_name__is_free_and_allowed(root: Path) -> None:
    assert suggested_name(root / "new.csv") == "new"
    (root / "inside" / "thing").write_text("")
    assert suggested_name(root / "inside") == "inside pool"
    assert suggested_name(root / "$(touch x)") == "touch x"
    assert suggested_name(root / "胸部") == "pool"


def test_pools_home__is_beside_the_opened_pool(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "deep").mkdir()
    monkeypatch.setenv("CHIPS_POOL", str(root / "deep" / "demo"))
    assert pools_home() == root / "deep"
    monkeypatch.setenv("CHIPS_POOL", str(root.parent / "outside" / "demo"))
    assert pools_home() == root


def test_roots__without_being_told_are_the_pools_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHIPS_ROOTS", raising=False)
    monkeypatch.setenv("CHIPS_POOL", str(tmp_path / "a" / "demo"))
    monkeypatch.chdir(tmp_path)
    assert roots() == [tmp_path / "a", tmp_path / "pools"]


def test_find_pools__same_names_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("a", "b"):
        Pool.create(tmp_path / place / "chest", batches=[], record={})
    monkeypatch.setenv("CHIPS_ROOTS", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    monkeypatch.setenv("CHIPS_POOL", str(tmp_path / "b" / "chest"))
    assert find_pools() == {"chest": tmp_path / "b" / "chest", "chest in a": tmp_path / "a" / "chest"}


def test_find_coming__a_job_without_a_pool(root: Path) -> None:
    (root / "new" / "jobs").mkdir(parents=True)
    assert find_coming() == {"new": root / "new"}
    state = pool_state(root / "new")
    assert (state.condition, state.pool) == ("coming", None)
    assert "Runs" in state.next_step


def test_pool_state__is_seen_anew_when_the_manifest_changes(tmp_path: Path) -> None:
    pool = Pool.create(tmp_path / "p", batches=[], record={})
    first = pool_state(pool.path)
    assert first.condition == "empty"
    assert first.pool is pool_state(pool.path).pool  # opened once, while nothing changes
    (pool.path / "pool.json").write_text("{}")
    assert pool_state(pool.path).condition == "damaged"
    assert pool_state(pool.path).next_step[0].isupper()
