"""The catalogue names exactly the registry's methods, and asking for it leaves torch out of this process."""

import subprocess
import sys

import pytest

from chips_core.influence.methods import METHODS
from chips_core.views.catalogue import catalogue
from chips_core.views.planning import Facts, Target, why_not


@pytest.mark.slow
def test_catalogue__is_the_registry() -> None:
    found = {entry.name: entry for entry in catalogue().methods}
    assert list(found) == [entry.name for entry in METHODS]
    assert all(found[entry.name].meaning == entry.meaning for entry in METHODS)
    whole = Target("val", "split", pairs=9, scored=9, labelled=True, scored_labelled=True)
    facts = Facts(pairs=18, targets=(whole,), classes=2)
    bare = Target("val", "split", pairs=0, scored=0, labelled=False, scored_labelled=False)
    for entry in found.values():  # every need is one that the planning knows
        assert why_not(entry, facts, target=whole, mode="audit") == ""
        lacking = why_not(entry, Facts(0, (), 0), target=bare, mode="paper")
        known = {"a target set"} & set(entry.needs)
        assert all(need in lacking for need in set(entry.needs) - known)


def test_views__do_not_import_torch() -> None:
    code = (
        "import sys, chips_core.views.overview, chips_core.views.health, chips_core.views.sources, "
        "chips_core.views.catalogue, chips_core.jobs.runner; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
