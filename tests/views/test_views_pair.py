"""What is known about one pair: neighbours, captions that fit better, reasons, duplicates, history."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from review_pools import ANGLES, CAPTION_ANGLES, CAPTIONS, plain_pool, scored_pool

from chips_core.store.review import Review
from chips_core.views import pair as pairs
from chips_core.views.nearby import Nearby, nearby_of
from chips_core.views.queue import kept_pairs, load_run


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return scored_pool(tmp_path_factory.mktemp("pair") / "pool")


@pytest.fixture(scope="module")
def scored(pool):
    return load_run(pool, "run")


@pytest.fixture(scope="module")
def nearby(pool):
    return nearby_of(pool)


def test_nearby__nearest_images_first_never_itself(nearby):
    near = nearby.of(0)
    assert near.rows == (1, 2, 3, 4, 5)
    assert near.similarity[0] == pytest.approx(np.cos(np.deg2rad(10)), abs=1e-3)


def test_nearby__captions_that_fit_better_are_counted_once_each(nearby):
    near = nearby.of(2)  # its image points to 20 degrees, its caption 'ring' to 95, 'disc' to 5, 'bar' to 180
    assert (near.better, near.captions) == (1, 3)
    assert [(found.row, found.pairs) for found in near.best] == [(0, 2)]
    assert near.own == pytest.approx(np.cos(np.deg2rad(75)), abs=1e-3)


@pytest.mark.parametrize("row", range(6))
def test_nearby__equals_the_obvious_way(nearby, row):
    near = nearby.of(row)
    fits = {caption: np.cos(np.deg2rad(ANGLES[row] - angle)) for caption, angle in CAPTION_ANGLES.items()}
    better = [caption for caption, fit in fits.items() if fit > fits[CAPTIONS[row]] + 1e-3]
    assert near.better == len(better)
    assert [CAPTIONS[found.row] for found in near.best] == sorted(better, key=lambda caption: -fits[caption])


def test_nearby__its_own_caption_in_other_words_of_the_encoder_is_not_a_better_one(pool):
    features, captions = pool.features(), pool.kept(["caption"])["caption"]
    text = np.array(features.text)
    text[1] = [0.0, 1.0]  # p0 and p1 share a caption, whose features differ a little from block to block
    near = Nearby(replace(features, text=text), captions).of(1)
    assert "disc" not in [captions.iloc[found.row] for found in near.best]


def test_nearby__of_a_draw_says_so_and_still_answers_for_every_pair(pool):
    features, captions = pool.features(), pool.kept(["caption"])["caption"]
    near = [Nearby(features, captions, largest=4).of(row) for row in range(6)]
    assert all(one.drawn for one in near)
    assert all(row not in one.rows for row, one in enumerate(near))


def test_nearby__rows_that_are_not_there(nearby):
    assert nearby.of(99) is None
    assert nearby.of(-1) is None


def test_parts_of__turned_so_that_high_is_suspect(scored):
    parts = pairs.parts_of(scored, 2)
    assert [part.title for part in parts] == ["ECIF: loss if removed", "Peer loss"]
    assert parts[0].suspicion == pytest.approx(1 - 0.5 / 6)
    assert parts[0].value == pytest.approx(-0.8)


def test_reasons__strongest_first_and_true(scored, nearby):
    said = pairs.reasons(scored, 2, near=nearby.of(2))
    assert said[0].startswith("Without it, the loss on the target set would fall")
    assert "1 of 3 different captions fits its image better than its own." in said
    assert "captions fit their own images better" in said[1]


def test_reasons__nothing_stands_out(scored, nearby):
    assert pairs.reasons(scored, 5, near=nearby.of(5)) == (
        "Nothing about this pair stands out by the scores of this run.",
    )


def test_reasons__never_claim_harm_of_a_pair_that_helps(scored):
    helpful = {**scored.scores, "delta_loss_if_removed": np.linspace(0.1, 0.6, 6, dtype=np.float32)}
    kind = type(scored)
    all_help = kind(
        **{name: getattr(scored, name) for name in kind.__dataclass_fields__} | {"scores": helpful, "_sorted": {}}
    )
    assert not any("harm" in sentence for sentence in pairs.reasons(all_help, 0, near=None))


def test_reasons__hold_no_text_of_the_data_set(tmp_path):
    captions = tuple(f"<script>{i}</script>" for i in range(6))
    pool = scored_pool(tmp_path / "pool", captions=captions)
    scored, nearby = load_run(pool, "run"), nearby_of(pool)
    assert not any("<" in text for row in range(6) for text in pairs.reasons(scored, row, near=nearby.of(row)))


def test_find_pair__kept_broken_and_unknown(pool):
    kept, broken = pairs.find_pair(pool, "p2"), pairs.find_pair(pool, "b0")
    assert (kept.row, kept.input_row) == (2, 3)
    assert (broken.row, broken.values["reason"]) == (None, "cut short")
    assert pairs.find_pair(pool, "../p2") is None
    assert "caption" not in pairs.facts_table(kept)["column"].tolist()


def test_score_table__one_line_a_score(scored):
    table = pairs.score_table(scored, 2)
    assert table["score"].tolist()[:2] == ["Misalignment queue", "ECIF: loss if removed"]
    assert table["suspect"].tolist() == ["high", "low", "high"]
    assert table["share"].iloc[1] == pytest.approx(5.5 / 6)  # of a score that is suspect when low


def test_same_patient_and_same_image__leave_the_pair_out(scored):
    assert pairs.same_patient(scored.pairs, 0) == (1,)
    assert pairs.same_patient(scored.pairs, 5) == ()  # nobody is named: that is no patient
    assert pairs.same_image(scored.pairs, 1) == (2,)


def test_nearly_same_image__by_the_stored_groups(tmp_path):
    pool = plain_pool(tmp_path / "pool")
    table = pd.DataFrame({"input_row": [2, 3, 5], "group": [0, 0, 0]})  # rows 1, 2 and 4 of the kept pairs
    pool.write_table("duplicates", "near-24", table, record={}, fingerprint="d")
    assert pairs.nearly_same_image(pool, kept_pairs(pool), 1, near=None) == (2, 4)
    assert pairs.nearly_same_image(pool, kept_pairs(pool), 1, near=None, skip=(2,)) == (4,)


def test_nearly_same_image__by_looking_at_the_likely_ones(tmp_path):
    pool = scored_pool(tmp_path / "pool")
    draw = np.random.default_rng(0)
    first, other = draw.integers(0, 255, (2, 32, 32)).astype(np.uint8)
    for name, pixels in (("p0", first), ("p1", first), ("p2", other)):
        Image.fromarray(pixels).resize((256, 256)).save(pool.source_root / f"{name}.png")
    near = nearby_of(pool).of(0)
    assert pairs.nearly_same_image(pool, kept_pairs(pool), 0, near=near) == (1,)
    (pool.source_root / "p0.png").unlink()
    assert pairs.nearly_same_image(pool, kept_pairs(pool), 0, near=near) == ()


def test_history_table__newest_first_with_what_no_longer_holds(tmp_path):
    pool = plain_pool(tmp_path / "pool")
    with Review.open(pool.path) as review:
        review.add_verdict(pair_id="p0", verdict="correct", reviewer="ann")
        review.add_note(pair_id="p0", note="odd", reviewer="bob")
        review.add_verdict(pair_id="p0", verdict=None, reviewer="ann")
        review.undo_last(reviewer="bob")
        table = pairs.history_table(review.history("p0"))
    assert table["verdict"].tolist() == ["taken back", "note", "correct"]
    assert table["stands as"].tolist() == ["", "taken back", "replaced"]
    assert table["note"].tolist() == ["", "odd", ""]


def test_history_table__says_which_verdict_is_the_pairs_and_which_a_reviewers_own(tmp_path):
    pool = plain_pool(tmp_path / "pool")
    with Review.open(pool.path) as review:
        for who, verdict in (("ann", "correct"), ("ann", "unsure"), ("bob", "wrong pair"), ("bob", "negation")):
            review.add_verdict(pair_id="p0", verdict=verdict, reviewer=who, note=f"by {who}")
        review.undo_last(reviewer="bob")
        review.add_note(pair_id="p0", note="first", reviewer="ann")
        review.add_note(pair_id="p0", note="last", reviewer="ann")
        table = pairs.history_table(review.history("p0"))
        held = review.current_verdicts().iloc[0]
    assert dict(zip(table["verdict"], table["stands as"], strict=True)) == {
        "note": "replaced",
        "negation": "taken back",
        "wrong pair": "the pair's verdict",
        "unsure": "the reviewer's own",
        "correct": "replaced",
    }
    assert table["stands as"][0] == "the pair's note"
    assert (held["verdict"], held["note"]) == ("wrong pair", "last")
