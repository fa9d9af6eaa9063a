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


def test_marks__names_patient_and_image():
    line = SimpleNamespace(influence=-0.5, similarity=0.987, same_image=True, same_patient=False)
    assert trace.marks(line) == "-0.5 · similarity 0.99 · the same image"
