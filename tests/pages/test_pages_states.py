"""Every page in every state of a pool: no exception, and a sentence that says what to do (K4, K5, K8)."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pool_states import STATES, app, page_files, words

WHOLE = (
    "scored",
    "demo",
    "many",
    "damaged features",
)  # here a page has its own things to show, which AppTest does not draw


@pytest.fixture
def opened(state: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Returns a function that starts the app's environment on the pool of a state and returns its folder."""

    def start(name: str) -> Path:
        folder = state(name)
        monkeypatch.delenv("CHIPS_ROOTS", raising=False)
        monkeypatch.setenv("CHIPS_POOL", str(folder))
        monkeypatch.chdir(folder.parent)
        return folder

    return start


@pytest.mark.parametrize("of", STATES)
@pytest.mark.parametrize("page", page_files())
def test_k4__every_page_in_every_state_says_something_and_never_breaks(
    page: str, of: str, opened: Callable[[str], Path]
) -> None:
    folder = opened(of)
    test = app(page)
    assert not test.exception, test.exception
    said = words(test).replace("\\", "")
    sentence = r"[A-Z][a-z]+[ :].*[.?]" if of not in WHOLE else r"[A-Z][a-z]+"
    assert re.search(sentence, said), f"no sentence: {said!r}"
    assert "went wrong" not in said
    assert str(folder.parent) not in said or page == "runs.py"  # K5: only Runs names the roots


@pytest.mark.parametrize(
    ("of", "sentence"),
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
def test_k4__the_overview_says_what_to_do(of: str, sentence: str, opened: Callable[[str], Path]) -> None:
    opened(of)
    assert sentence in words(app()).replace("\\", "")


@pytest.mark.parametrize("junk", ["../../etc/passwd", "<script>alert(1)</script>", "$(touch x)", "x" * 3000, "\u202e"])
@pytest.mark.parametrize("parameter", ["pool", "pair", "run"])
@pytest.mark.parametrize("page", ["overview.py", "runs.py", "pair.py"])
def test_k8__junk_in_the_address_is_a_message_not_a_crash(
    page: str, parameter: str, junk: str, opened: Callable[[str], Path]
) -> None:
    opened("scored")
    test = app(page, query={parameter: junk})
    assert not test.exception
    if parameter == "pool":
        assert "no pool of the name" in words(test) or page != "overview.py"
