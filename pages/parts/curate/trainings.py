"""Training the pool's encoder on a saved selection, as a job, and what finished trainings gained and cost."""

from collections.abc import Sequence

import streamlit as st

from chips_core.errors import ChipsError
from chips_core.numbers import POINTS, points
from chips_core.store import Pool
from chips_core.views.exporting import suggested_name
from chips_core.views.planning import PlannedStep
from chips_core.views.trainings import PARTS, TrainedTask, splits_to_judge, training_target, trainings_of
from pages.parts.grids import Cell, Line, grid
from pages.parts.opened import literal
from pages.parts.runs.jobs import alive_job, start

HINTS = {
    "heads": "The last linear layers only: minutes at most, on features that are there already.",
    "last": "Opens the images again: a minute for the demo model, an hour or more for a large one on two cores.",
    "full": "Opens the images again and trains all weights: for a machine with a graphics card.",
}


def draw_training(pool: Pool, name: str) -> None:
    """Draws the choice of what to train and the button that starts the job."""
    splits = splits_to_judge(pool)
    if not pool.feature_sets() or not splits:
        st.text("To train on a selection, the pool must be encoded and have a split to judge on, such as 'test'.")
        return
    with st.container(border=True):
        part, epochs, judged, button = st.columns([3, 2, 2, 2], vertical_alignment="bottom")
        chosen = str(part.selectbox("Train", list(PARTS), format_func=PARTS.__getitem__, key="curate_part"))
        passes = epochs.number_input("Passes", 1, 100, 5, key="curate_epochs")
        split = judged.selectbox("Judged on", splits, key="curate_judged")
        if button.button(
            "Train",
            key="curate_train",
            icon=":material/model_training:",
            width="stretch",
            disabled=alive_job(pool.path) is not None,
        ):
            _start(pool, name, part=chosen, epochs=int(passes), split=str(split))
        st.text(HINTS[chosen])


def _start(pool: Pool, name: str, *, part: str, epochs: int, split: str) -> None:
    try:
        to = training_target(f"{suggested_name(f'{pool.path.name[:16]}-{name}')}-{part}-{epochs}")
    except ChipsError as error:
        st.error(literal(str(error)))
        return
    asked = {"pool": str(pool.path), "selection": name, "to": str(to), "part": part, "epochs": epochs}
    if start(pool.path, [PlannedStep("pretrain", {**asked, "evaluate": split})]):
        st.rerun()


def draw_trained(pool: Pool, selections: Sequence[str]) -> None:
    """Draws what the finished trainings on these selections gave; nothing where there is none."""
    found = trainings_of(pool.id, frozenset(selections))
    if not found:
        return
    st.subheader("What training gave")
    head = ["Training", "Judged on", "Before", "After", POINTS, "Own caption first"]
    grid(head, _lines(found), key="curate_trained", label="Before and after training on a selection", words=(0,))
    st.text(
        "Before and after: zero-shot accuracy; the change with its interval over whole patients. "
        "Own caption first: how often an image's own caption fits it best."
    )


def _lines(found: Sequence[TrainedTask]) -> list[Line]:
    """Returns one line a task; the first of each training names it, and says what was trained on what."""
    lines, named = [], ""
    for one in found:
        first, named = one.training != named, one.training
        name, hint = (one.training, f"{one.part}; trained on '{one.selection}'") if first else ("", "")
        lines.append(Line(name, [Cell(text) for text in _cells(one)], hint=hint))
    return lines


def _cells(one: TrainedTask) -> list[str]:
    return [
        one.task,
        _share(one.before),
        _share(one.after),
        "–" if one.change is None else points(*one.change),
        f"{_share(one.recall[0])} → {_share(one.recall[1])}",
    ]


def _share(value: float | None) -> str:
    return "no data" if value is None else f"{value:.1%}"
