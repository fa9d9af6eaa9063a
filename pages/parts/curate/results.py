"""What the methods choose, side by side: size, suspicion, coverage, places on the map, scores, overlap."""

from collections.abc import Sequence

import streamlit as st

from chips_core.curate.measured import Measured
from chips_core.numbers import POINTS, points
from chips_core.store import Pool
from chips_core.views.curate import Lab, Trial, overlap
from chips_core.views.map import SPACES, load_layout, maps_of
from chips_core.views.small_map import small_map
from pages.parts.grids import Cell, Line, Series, distributions, grid, small_maps
from pages.parts.opened import literal
from pages.parts.pool_map.channels import layout_places

MOST_LINES = 300


def draw_summary(trials: Sequence[Trial], measured: Sequence[Measured | None]) -> None:
    """Draws one line a method, the numbers that decide beside each other."""
    head = ["Method", "Pairs", "Held suspect", "Classes", "Rare kept", "Kept out", "Dropped"]
    known = [one for one in measured if one is not None]
    if known:
        head += ["Accuracy", POINTS] if known[0].accuracy is not None else ["Recall at 1"]
    lines = [
        Line(trial.title, [Cell(text) for text in (*_figures(trial), *_measured(one, known))], ink=at)
        for at, (trial, one) in enumerate(zip(trials, measured, strict=True))
    ]
    grid(head, lines, key="curate_summary", label="The methods side by side")
    st.text(
        "Held suspect: the share that lies among the queue's first pairs, as many as the audit would drop. Rare kept: "
        "of the pairs of the rarest classes. Kept out: judged wrong, or of a patient or image of target or test set."
    )


def _figures(trial: Trial) -> list[str]:
    out = trial.selected.kept_out
    dropped = out.get("dropped by the audit", 0)
    found, there = trial.classes
    return [
        f"{trial.pairs:,}",
        "not known" if trial.flagged is None else f"{trial.flagged:.1%}",
        f"{found:,} of {there:,}" if there else "no labels",
        "–" if trial.rare is None else f"{trial.rare:.1%}",
        f"{sum(out.values()) - dropped:,}",
        f"{dropped:,}" if dropped else "–",
    ]


def _measured(one: Measured | None, known: Sequence[Measured]) -> list[str]:
    """Returns the cells of what was measured; no cell where nothing was measured at all."""
    if not known:
        return []
    labelled = known[0].accuracy is not None
    if one is None:
        return ["–", "–"] if labelled else ["–"]
    if one.accuracy is None or one.change is None:
        return [f"{one.recall_at_1:.1%}"]
    return [f"{one.accuracy:.1%}", points(one.change, one.low, one.high)]


def draw_warnings(trials: Sequence[Trial]) -> None:
    """Draws what is to be known before one of the methods is used; shortages as a table."""
    short = [(trial, shortage) for trial in trials for shortage in trial.selected.shortages]
    if short:
        st.error("The rules ask for more than there is. Nothing is filled up silently; this is what is missing:")
        lines = [
            Line(one.what, [Cell(trial.title), Cell(f"{one.wanted:,}"), Cell(f"{one.found:,}")]) for trial, one in short
        ]
        grid(
            ["Where", "Method", "Asked for", "Found"],
            lines[:MOST_LINES],
            key="curate_short",
            label="Shortages",
            words=(0,),
        )
    found: dict[str, list[str]] = {}
    for trial in trials:
        for words in trial.selected.warnings:
            found.setdefault(words, []).append(trial.title)
    if found:
        lines_of_text = [
            words if len(titles) == len(trials) else f"{', '.join(titles)}: {words}" for words, titles in found.items()
        ]
        st.warning(literal("\n\n".join(lines_of_text)))


def draw_small_maps(pool: Pool, lab: Lab, trials: Sequence[Trial]) -> None:
    """Draws where each method's pairs lie; nothing where there is no map."""
    maps = maps_of(pool)
    space = next((space for space in ("image", "joint", "text") if space in maps), None)
    if space is None:
        return
    layout = load_layout(pool, maps[space])
    places = layout_places(layout.xy)[1]
    st.subheader("On the map")
    shown = [
        (trial.title, f"{trial.pairs:,} pairs", small_map(places, layout.placed(lab.mask(trial))), at)
        for at, trial in enumerate(trials)
    ]
    small_maps(shown, key="curate_maps")
    st.text(f"Laid out by {SPACES[space].lower()}; grey are the pairs that are not chosen.")


def draw_details(lab: Lab, trials: Sequence[Trial]) -> None:
    """Draws coverage, scores, overlap or the notes, one at a time."""
    looks = ["Coverage", "Scores", *(["Overlap"] if len(trials) > 1 else []), "What was kept out"]
    st.subheader("Compared in detail")
    look = st.segmented_control(
        "Look at", looks, default="Coverage", required=True, key="curate_look", label_visibility="collapsed"
    )
    if look == "Scores":
        _draw_scores(lab, trials)
    elif look == "Overlap":
        _draw_overlap(trials)
    elif look == "What was kept out":
        _draw_kept_out(trials)
    else:
        _draw_coverage(lab, trials)


def _draw_coverage(lab: Lab, trials: Sequence[Trial]) -> None:
    columns = {name: title for name, title in lab.columns().items() if name != "group"}
    if not columns:
        st.text("The source names no class, modality or source.")
        return
    column = st.segmented_control(
        "By",
        list(columns),
        default=next(iter(columns)),
        required=True,
        format_func=lambda name: columns.get(name, name),
        key="curate_column",
    )
    found = lab.coverage(trials, column or next(iter(columns)))
    lost = sum(bool(line.lost_by) for line in found)
    if lost:
        st.text(f"{lost:,} of {len(found):,} lose all of their pairs with at least one method: they stand first.")
    found = tuple(sorted(found, key=lambda line: (not line.lost_by, -line.before)))
    lines = [
        Line(line.value, [Cell(f"{line.before:,}"), *(_kept(count, line.before) for count in line.kept)])
        for line in found[:MOST_LINES]
    ]
    head = [columns.get(str(column), ""), "Before", *(trial.title for trial in trials)]
    inks = [None, *range(len(trials))]
    grid(head, lines, key="curate_coverage", label="Share of each value's pairs that is kept", look="bars", inks=inks)
    if len(found) > MOST_LINES:
        st.text(f"and {len(found) - MOST_LINES:,} more")


def _kept(count: int, before: int) -> Cell:
    return Cell(f"{count / before:.1%}" if count else "lost", count / before)


def _draw_scores(lab: Lab, trials: Sequence[Trial]) -> None:
    shapes = lab.shapes(trials)
    if not shapes:
        st.text("The pool has no scores yet.")
        return
    shown = [
        (
            title,
            towards,
            found,
            [Series(trial.title, found.after[at], at) for at, trial in enumerate(trials)],
        )
        for title, towards, found in shapes
    ]
    distributions(shown, key="curate_scores")
    st.text("Grey: all candidates. Lines: the share of each method's pairs, clipped at 1% and 99%. Dotted: zero.")


def _draw_overlap(trials: Sequence[Trial]) -> None:
    shares = overlap(trials)
    lines = [
        Line(trial.title, [Cell(f"{share:.0%}", float(share)) for share in line], ink=at)
        for at, (trial, line) in enumerate(zip(trials, shares, strict=True))
    ]
    head = ["of the pairs of …", *(trial.title for trial in trials)]
    grid(head, lines, key="curate_overlap", label="Share of each method's pairs that others choose too", look="tint")
    st.text("Read along a line: of the pairs that this method chooses, the share that the other one chooses too.")


def _draw_kept_out(trials: Sequence[Trial]) -> None:
    reasons = list(dict.fromkeys(reason for trial in trials for reason in trial.selected.kept_out))
    lines = [
        Line(reason, [Cell(f"{trial.selected.kept_out.get(reason, 0):,}") for trial in trials]) for reason in reasons
    ]
    grid(["Reason", *(trial.title for trial in trials)], lines, key="curate_out", label="Pairs kept out, by reason")
    for trial in trials:
        for note in trial.selected.notes:
            st.text(f"{trial.title}: {note}")
