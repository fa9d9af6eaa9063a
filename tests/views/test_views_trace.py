"""What the page of wrong predictions shows, checked by hand."""

from types import SimpleNamespace

import numpy as np

from chips_core.views import trace


def test_confusion__leaves_out_images_without_a_label():
    found = trace.confusion(np.array([0, 0, 1, -1]), np.array([0, 1, 1, 0]), classes=3)
    assert found.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_cells_table__holds_the_errors_the_fullest_first():
    table = trace.cells_table(np.array([[5, 1, 0], [3, 0, 0], [0, 0, 0]]), ["a", "b", "c"])
    assert table[["truth", "taken for", "images"]].to_numpy().tolist() == [["b", "a", 3], ["a", "b", 1]]
    assert table["share"].tolist() == [1.0, 1 / 6]
    assert trace.cells_table(np.zeros((2, 2), np.int64), ["a", "b"]).empty


def test_outcome_table__shows_what_there_is():
    found = {
        "removed": 2,
        "before": {"probabilities": {"a": 0.7, "b": 0.3}},
        "predicted": {"probabilities": {"a": 0.2, "b": 0.8}},
    }
    table = trace.outcome_table(found, most=1)
    assert table.to_dict("records") == [{"class": "b", "before": 0.3, "predicted without them": 0.8}]


def test_marks_and_badge__numbers_and_what_is_in_common():
    line = SimpleNamespace(influence=-0.5, similarity=0.987, same_image=True, same_patient=False, near_copy=False)
    assert trace.marks(line) == "\u22120.500 · similarity 0.99"
    assert trace.badge(line) == "same image"
    assert trace.badge(line, verdict="wrong pair") == "wrong pair"
    plain = SimpleNamespace(influence=0.5, similarity=0.1, same_image=False, same_patient=False, near_copy=False)
    assert (trace.marks(plain), trace.badge(plain)) == ("+0.500 · similarity 0.10", "")
    assert trace.marks(SimpleNamespace(influence=0.5, similarity=-0.001)) == "+0.500 · similarity 0.00"


ACCURACY = {
    "images": 4,
    "accuracy": 0.5,
    "accuracy_interval": [0.25, 0.75],
    "classes": [
        {"label": "a", "images": 2, "correct": 2, "accuracy": 1.0},
        {"label": "b", "images": 2, "correct": 0, "accuracy": 0.0},
        {"label": "c", "images": 0, "correct": 0, "accuracy": None},
    ],
    "sources": {"x": {"accuracy": 0.5, "interval": [0.0, 1.0]}, "y": {"accuracy": 1.0, "interval": None}},
    "calibration": {"ece": 0.1, "images": [0, 4], "accuracy": [None, 0.5], "confidence": [None, 0.9]},
}


def test_accuracy__in_words_and_lines():
    said = trace.accuracy_in_words(ACCURACY)
    assert "2 of 4 test images wrong: accuracy 50.0% (95% interval 25.0% to 75.0%" in said
    assert [line.name for line in trace.class_lines(ACCURACY)] == ["b", "a", "c"]
    assert trace.class_lines(ACCURACY)[2].value == "no image"
    assert [line.note for line in trace.source_lines(ACCURACY)] == ["(0%–100%)", ""]
    assert [(line.name, line.value) for line in trace.calibration_lines(ACCURACY)] == [("50–100% sure", "50.0%")]
    nothing = {**ACCURACY, "images": 0, "accuracy": None, "accuracy_interval": None, "calibration": None}
    assert "No test image" in trace.accuracy_in_words(nothing)
    assert trace.calibration_lines(nothing) == []


def test_shortened__leaves_out_the_middle_and_no_more_than_asked():
    assert trace.shortened("chest-radiograph:pleural-effusion", most=15) == "chest…-effusion"
    assert trace.shortened("chest-radiograph:pneumothorax", most=8) == "ch…horax"
    assert trace.shortened("normal", most=6) == "normal"


def test_removal_in_words__of_one_image_and_of_several():
    found = {"removed": 3, "before": {"loss": 2.0, "right": 0}, "predicted": {"loss": 1.5, "right": 1}}
    assert trace.removal_in_words(found, images=1) == (
        "Predicted without 3 pairs: now right. Loss 2.000 before, 1.500 predicted."
    )
    again = {**found, "retrained": {"loss": 1.6, "right": 4}}
    assert "Really retrained without 3 pairs: 4 of 9 right." in trace.removal_in_words(again, images=9)
    through = trace.removal_in_words(found, images=1, through_fit=-0.25)
    assert through.endswith("1.500 predicted. Through the whole training: 1.750 predicted.")


def test_way_in_words__each_way_says_how_far_it_agrees_where_that_was_measured():
    honesty = SimpleNamespace(spearman=0.76, fit_spearman=0.97)
    recall = SimpleNamespace(recall=0.98, top=20, images=8)
    assert "98% of the exact first 20" in trace.way_in_words("quick", honesty=honesty, recall=recall)
    assert trace.way_in_words("quick", honesty=honesty, recall=None) == trace.UNMEASURED
    assert trace.way_in_words("exact", honesty=honesty, recall=None).endswith(
        "real retraining: 0.76 (through the whole training 0.97)."
    )
    assert trace.way_in_words("fit", honesty=honesty, recall=None).endswith("real retraining: 0.97.")
    assert "correlation" not in trace.way_in_words("fit", honesty=None, recall=None)


def test_retrieval_table__recalls_with_their_intervals():
    found = {
        "retrieval": {"image_to_text": {"1": 0.5}, "text_to_image": None},
        "retrieval_intervals": {"image_to_text": {"1": [0.25, 0.75]}, "text_to_image": None},
    }
    assert trace.retrieval_table(found)["R@1"].iloc[0] == "50.0% (25%–75%)"


FIDELITY = {"spearman_random": 0.954, "slope": 1.02, "pairs": 512, "removed_at_once": 26, "random_removals": 200}


def measured_pool(*records):
    """A pool with two feature sets, the newest named `new`, and these measurements in order."""
    kept = {"fidelity": [SimpleNamespace(record=record) for record in records]}
    sets = [SimpleNamespace(name="old"), SimpleNamespace(name="new")]
    return SimpleNamespace(tables=lambda kind: kept.get(kind, []), feature_sets=lambda: sets)


def test_fidelity_in_words__what_was_measured_on_the_newest_features_or_how_to_measure_it():
    mine = {**FIDELITY, "features": "new", "target": "val"}
    said = trace.fidelity_in_words(measured_pool(mine))
    assert "512 pairs of this pool to the very minimum" in said
    assert "200 times 26 random pairs" in said
    assert "loss on the target set 'val': rank correlation 0.95, real = 1.02" in said
    how = "chips bench fidelity --pool POOL"
    assert how in trace.fidelity_in_words(measured_pool())
    assert how in trace.fidelity_in_words(measured_pool({**mine, "features": "old"}, FIDELITY))


def test_fidelity_in_words__more_removals_say_more_and_of_equal_ones_the_last():
    mine = {**FIDELITY, "features": "new", "target": "val"}
    quick = {**mine, "random_removals": 20, "spearman_random": 0.5}
    assert "correlation 0.95" in trace.fidelity_in_words(measured_pool(mine, quick))
    assert "correlation 0.91" in trace.fidelity_in_words(measured_pool(mine, {**mine, "spearman_random": 0.91}, quick))


def test_honesty_in_words__says_which_heads_and_that_the_size_is_not_to_be_trusted():
    found = SimpleNamespace(
        spearman=0.84, slope=2.5, fit_spearman=0.97, fit_slope=1.1, removals=24, removed=60, images=12
    )
    said = trace.honesty_in_words(found)
    assert "a set number of passes, not to a minimum): 24 times 60 random pairs" in said
    assert "12 wrong predictions: rank correlation 0.84, real = 2.5" in said
    assert "stopped early" not in said
    assert "trust the order more than the size" in said
    assert "Through the whole training: rank correlation 0.97, real = 1.1" in said


def test_taken_for__a_class_in_one_sentence_a_caption_with_its_note():
    facts = {"label": "a", "predicted": "b"}
    assert trace.taken_for(facts, question=trace.CLASS) == ("a taken for b", "")
    assert trace.taken_for(facts, question=trace.CAPTION) == ("a", "Fits best: b")
