"""Which methods and models there are, told by a process of its own: `python -m chips_core.views.catalogue`.

The registry of methods needs torch and the list of models needs open_clip; a page that imported them would keep a
person waiting for seconds at the first click. The process is asked once and answers with JSON.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from chips_core.errors import ChipsError, InputError

SECONDS = 300.0  # a process that has not answered by then never will
PAUSE = 5.0
_wanted = threading.Event()  # set when a person waits for the answer


@dataclass(frozen=True)
class MethodEntry:
    """A scoring method in words; `needs` as the registry names them."""

    name: str
    title: str
    meaning: str
    citation: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class ModelEntry:
    """A model whose weights are on this disk, as `encode` wants it named."""

    name: str
    weights: str | None
    title: str


@dataclass(frozen=True)
class Catalogue:
    """What can be chosen."""

    methods: tuple[MethodEntry, ...]
    models: tuple[ModelEntry, ...]


@lru_cache(maxsize=1)
def catalogue_soon() -> "Future[Catalogue]":
    """Asks in a little while, once in the life of this process, and returns what will hold the answer.

    The pause leaves the processors to the page that a person is looking at.
    """
    return ThreadPoolExecutor(1, thread_name_prefix="catalogue").submit(_asked)


def catalogue() -> Catalogue:
    """Returns the catalogue, at once where it was asked for before."""
    _wanted.set()
    return catalogue_soon().result()


def _asked() -> Catalogue:
    _wanted.wait(PAUSE)
    command = [sys.executable, "-m", "chips_core.views.catalogue"]
    try:
        answer = subprocess.run(  # noqa: S603 -- an argument list of our own words, no shell
            command, capture_output=True, check=True, timeout=SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as error:
        fix = "look at what `chips score --help` says, then start the app again."
        raise InputError("The list of methods could not be read.", fix=fix) from error
    found = json.loads(answer.stdout)
    return Catalogue(
        tuple(MethodEntry(**{**entry, "needs": tuple(entry["needs"])}) for entry in found["methods"]),
        tuple(ModelEntry(**entry) for entry in found["models"]),
    )


def _methods() -> Iterator[dict[str, Any]]:
    from chips_core.influence.methods import METHODS

    for entry in METHODS:
        needs = sorted(str(need) for need in entry.needs | getattr(entry.defaults, "needs", frozenset()))
        yield asdict(MethodEntry(entry.name, entry.title, entry.meaning, entry.citation, tuple(needs)))


def _models() -> Iterator[dict[str, Any]]:
    """Yields open_clip's models whose weights are here, and those of the hub in the folder or the cache."""
    from chips_core.clip import open_clip_module
    from chips_core.clip.sources import locate, models_folder
    from chips_core.clip.spec import DESCRIPTION, HUB, ModelSpec

    named = [ModelSpec(name, tag) for name, tag in open_clip_module().list_pretrained()]
    from huggingface_hub.constants import HF_HUB_CACHE

    by_hand = [path.parent.name.replace("--", "/", 1) for path in models_folder().glob(f"*/{DESCRIPTION}")]
    cached = Path(HF_HUB_CACHE).glob(f"models--*/snapshots/*/{DESCRIPTION}")
    from_hub = [path.parents[2].name.removeprefix("models--").replace("--", "/", 1) for path in cached]
    named += [ModelSpec(HUB + name) for name in sorted({*by_hand, *from_hub})]
    for spec in named:
        try:
            locate(spec)
        except ChipsError:
            continue
        yield asdict(ModelEntry(spec.name, spec.weights, spec.title))


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"methods": list(_methods()), "models": list(_models())}))
