"""Search as the page asks for it: words, ids, likeness; and meaning by a model in a process of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from review_pools import encode, plain_pool
from tiny import tiny_dataset, tiny_model

from chips_core.clip import load_encoder, parse_model
from chips_core.errors import EncoderMismatch, InputError
from chips_core.jobs.models import model_of_record
from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Pool
from chips_core.views import search
from chips_core.views.map import PairColumns
from chips_core.views.search import find, find_meaning, find_similar


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    pool = plain_pool(tmp_path_factory.mktemp("search") / "pool")
    encode(pool)
    return pool


def test_find__words_in_captions(pool):
    hits = find(PairColumns(pool), " RING ", way="words")
    assert hits.rows.tolist() == [2, 3]
    assert hits.sentence == "2 captions hold every word."
    assert find(PairColumns(pool), "ring disc", way="words").sentence == "No caption holds every word."


def test_find__ids_exact_first(pool):
    assert find(PairColumns(pool), "p3", way="id").rows.tolist() == [3]
    assert find(PairColumns(pool), "p", way="id").rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert find(PairColumns(pool), "zzz", way="id").sentence == "No id holds it."
    assert find(PairColumns(pool), "p3", way="id").sentence == "1 id holds it."


def test_find_similar__by_image_and_by_caption(pool):
    assert find_similar(pool, 0, space="image", k=2).rows.tolist() == [1, 2]  # 10 and 20 degrees away
    assert find_similar(pool, 0, space="text", k=1).rows.tolist() == [1]  # the same words


def test_find_meaning__nearest_images_to_what_the_model_makes_of_the_text(pool, monkeypatch):
    class Pointing:
        def __init__(self, spec):
            pass

        def embedding(self, text):
            angle = np.radians(float(text))
            return search._Embedded(np.array([np.cos(angle), np.sin(angle)], dtype=np.float32), "")

    monkeypatch.setattr(search, "_tower", Pointing)
    hits = find_meaning(pool, "93", spec=parse_model("any"), k=2)
    assert hits.rows.tolist() == [3, 4]  # 90 and 100 degrees
    assert hits.ranked


def test_find_meaning__another_model_is_refused(pool, monkeypatch):
    class Other:
        def __init__(self, spec):
            pass

        def embedding(self, text):
            return search._Embedded(np.full(2, len(text), dtype=np.float32), "other")

    monkeypatch.setattr(search, "_tower", Other)
    with pytest.raises(EncoderMismatch):
        find_meaning(pool, "x", spec=parse_model("any"))


@pytest.mark.slow
def test_find_meaning__with_the_very_model_of_an_encoded_pool(tmp_path):
    source, model = tiny_dataset(tmp_path / "source", count=12), tiny_model(tmp_path / "model")
    folder = tmp_path / "pool"
    run_step("intake", {"source": str(source), "pool": str(folder), "workers": 1}, progress=Silent())
    run_step("encode", {"pool": str(folder), "model": str(model), "device": "cpu", "workers": 1}, progress=Silent())
    pool = Pool.open(folder)
    record = pool.feature_sets()[-1].record
    hits = find_meaning(pool, "a bar", spec=model_of_record(record, pool=pool.path), k=5)
    assert len(set(hits.rows.tolist())) == 5
    features = pool.features()
    encoder = load_encoder(parse_model(str(model)), precision="fp32", device="cpu")
    text = encoder.embed_texts(["a bar"])[0].numpy()
    images = features.image[:].astype(np.float32) @ features.heads.image.T
    cosines = images @ text / np.linalg.norm(images, axis=1)
    assert hits.rows.tolist() == np.argsort(-cosines)[:5].tolist()


@pytest.mark.slow
def test_text_tower__answers_again_and_again_from_one_process(tmp_path):
    folder = tiny_model(tmp_path / "model")
    tower = search.TextTower(parse_model(str(folder)))
    first = tower.embedding("a disc")
    child = tower._child
    second = tower.embedding("a ring\nwith a second line")
    assert tower._child is child
    assert first.fingerprint == second.fingerprint != ""
    assert np.linalg.norm(first.vector) == pytest.approx(1.0, abs=1e-4)
    assert not np.allclose(first.vector, second.vector)
    child.kill()
    child.wait()
    assert np.allclose(tower.embedding("a disc").vector, first.vector)  # begun again
    tower._end()


@pytest.mark.slow
def test_text_tower__a_model_that_is_not_here_is_told():
    tower = search.TextTower(parse_model("ViT-B-32", weights="/nowhere/weights.pt"))
    with pytest.raises(InputError):
        tower.embedding("x")
    assert tower._child is None


def test_search__the_page_never_imports_torch():
    words = "import sys, chips_core.views.search, chips_core.views.map; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0
