"""What every test runs under: hypothesis profiles and one thread, so that results do not depend on the machine."""

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores: more threads only wait for each other
settings.register_profile("ci", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def _main_module_stays() -> Iterator[None]:
    """Puts `__main__` back: a page run by AppTest replaces it, and a spawned process would import the page."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before
