"""Every page in every state of a pool: no exception, and a sentence that says what to do (K4, K5, K8)."""

import re
from pathlib import Path

import pytest
from pool_states import STATES, app, page_files, words

WHOLE = ("scored", "many", "damaged features")  # here a page has its own things to show, which AppTest does not draw
FOLDERS: dict[str, Path] = {}


@pytest.fixture(scope="session")
def pools(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Makes each state once for all pages; pages never write to what is shown here."""
    if not FOLDERS:
        for name, make in STATES.items():
            FOLDERS[name] = make(tmp_path_factory.mktemp(name.replace(" ", "_")))
    return FOLDERS


@pytest.fixture(autouse=True)
def _own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHIPS_ROOTS", raising=False)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("page", page_files())
def test_k4__every_page_in_every_state_says_something_and_never_breaks(
    page: str, state: str, pools: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHIPS_POOL", str(pools[state]))
    monkeypatch.chdir(pools[state].parent)
    test = app(page)
    assert not test.exception, test.exception
    said = words(test).replace("\\", "")
    sentence = r"[A-Z][a-z]+[ :].*[.?]" if state not in WHOLE else r"[A-Z][a-z]+"
    assert re.search(sentence, said), f"no sentence: {said!r}"
    assert "went wrong" not in said
    assert str(pools[state].parent) not in said or page == "runs.py"  # K5: only Runs names the roots


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("none", "Bring in"),
        ("empty", "no pair that can be used"),
        ("all broken", "7 broken"),
        ("damaged", "changed after it was written"),
        ("damaged scores", "scores/paper-1.parquet is damaged: it is not what was written. Run: chips check"),
        ("newer", "Update CHIPS Lens"),
        ("not encoded", "encode"),
    ],
)
def test_k4__the_overview_says_what_to_do(
    state: str, sentence: str, pools: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHIPS_POOL", str(pools[state]))
    monkeypatch.chdir(pools[state].parent)
    assert sentence in words(app()).replace("\\", "")


@pytest.mark.parametrize("junk", ["../../etc/passwd", "<script>alert(1)</script>", "$(touch x)", "x" * 3000, "\u202e"])
@pytest.mark.parametrize("parameter", ["pool", "pair", "run"])
@pytest.mark.parametrize("page", ["overview.py", "runs.py", "pair.py"])
def test_k8__junk_in_the_address_is_a_message_not_a_crash(
    page: str, parameter: str, junk: str, pools: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHIPS_POOL", str(pools["scored"]))
    monkeypatch.chdir(pools["scored"].parent)
    test = app(page, query={parameter: junk})
    assert not test.exception
    if parameter == "pool":
        assert "no pool of the name" in words(test) or page != "overview.py"
