"""Overview: which pool this is, what became of its rows, how its scores lie, what is odd, and what to do next."""

import streamlit as st

from chips_core.store import Pool
from chips_core.store.manifest import Artifact
from chips_core.views import overview
from chips_core.views.catalogue import catalogue_soon
from chips_core.views.pools import PoolState
from chips_core.views.runs import score_shapes
from pages.parts import charts
from pages.parts.cards import Card, cards
from pages.parts.charts import Bar
from pages.parts.errors import errors_shown
from pages.parts.health import draw_health
from pages.parts.images import image_url
from pages.parts.opened import current, current_run, draw_picker, go_to, has_page, literal, open_pair
from pages.parts.runs.jobs import at_work_in_words
from pages.parts.runs.welcome import draw_welcome

SHAPES, MOST_BARS, CARD = 6, 7, 125
LEADS_TO = {"misaligned": "misaligned", "map": "map"}
BESIDE, BELOW = ("modality", "split"), ("label", "body_part", "source")
TITLES = {"modality": "Modality", "body_part": "Body part", "split": "Split", "source": "Source", "label": "Label"}


def draw_card(pool: Pool) -> None:
    """Draws the pool in four facts."""
    run = current_run(pool)
    card = overview.pool_card(pool, run.name if run else None)
    facts = (
        ("Pairs", card.pairs, card.pairs_note),
        ("Encoder", card.encoder, card.encoder_note),
        ("Target set", card.target, card.target_note),
        ("Scored by", card.run, card.run_note),
    )
    for column, (label, value, note) in zip(st.columns(4), facts, strict=True):
        with column, st.container(gap=None):
            st.metric(label, literal(value))
            st.text(note)


def draw_next(state: PoolState) -> None:
    """Draws the one thing to do next."""
    pages = frozenset(stem for stem in LEADS_TO if has_page(stem))
    step = overview.next_step(state, at_work=at_work_in_words(state.folder), pages=pages)
    with st.container(border=True):
        words, button = st.columns([4, 1], vertical_alignment="center")
        words.text(step.sentence)
        if button.button(step.button, type="primary", key="next_step", width="stretch"):
            if step.goal in LEADS_TO:
                go_to(LEADS_TO[step.goal])
            go_to("runs", do="new" if step.goal == "bring in" else "pool")


def draw_outcomes(pool: Pool) -> None:
    """Draws what became of the rows, and what the kept ones are made of."""
    st.subheader("Outcomes")
    table = overview.outcome_table(pool)
    lines = [
        Bar(
            str(line.outcome),
            f"{line.pairs:,}",
            line.share,
            f"{line.share:.1%}",
            hint=str(line.meaning),
            quiet=line.outcome != "kept",
        )
        for line in table.itertuples()
    ]
    charts.bars(lines, key="outcomes", label="Rows by outcome")
    reasons = overview.reason_table(pool)
    if len(reasons):
        with st.expander("Rows that were not kept, and why"):
            st.dataframe(reasons, hide_index=True, alt="Rows that were not kept, with their reasons")


def draw_made_of(pool: Pool, names: tuple[str, ...], *, across: int) -> None:
    """Draws how many pairs each value of the named columns has, where it tells something."""
    found = [counts for counts in overview.made_of(pool) if counts.column in names]
    places = st.columns(across, gap="large") if found else []
    for number, counts in enumerate(found):
        with places[number % across]:
            st.subheader(f"{TITLES[counts.column]:s}")
            label = f"Pairs by {counts.column}"
            charts.counts(counts, key=f"made_{counts.column}", label=label, most=MOST_BARS)


def draw_scores(pool: Pool, run: Artifact) -> None:
    """Draws the distributions of the chosen run."""
    st.subheader("Scores")
    shapes = score_shapes(pool, run.name, most=SHAPES)
    charts.score_shapes(shapes, key="shapes")
    if any(shape.signed for shape in shapes):
        st.text("Where zero divides good from bad, the suspect side is orange.")


def draw_samples(pool: Pool, *, count: int) -> None:
    """Draws some pairs, others on demand."""
    title, button = st.columns([3, 1], vertical_alignment="center")
    title.subheader("A draw of its pairs")
    seed = st.session_state.setdefault("draw", 0)
    if button.button("Draw others", icon=":material/shuffle:", key="draw_others", width="stretch"):
        seed = st.session_state["draw"] = seed + 1
    drawn = overview.samples(pool, count=count, seed=seed)
    shown = [Card(s.row, image_url(pool.id, s.row), s.pair_id, s.caption, badge=s.label) for s in drawn]
    picked = cards(shown, key="overview_cards", label="A draw of the pool's pairs", width=CARD, few=True)
    open_pair(shown, picked)


state = current()
name, picker = st.columns([3, 1], vertical_alignment="bottom")
name.title("Overview")
with picker:
    draw_picker()
if state.pool is None:
    draw_welcome(state)
    st.stop()
draw_card(state.pool)
draw_next(state)
left, right = st.columns([2, 3], gap="large")
with left:
    draw_outcomes(state.pool)
    draw_made_of(state.pool, BESIDE, across=1)
run = current_run(state.pool)
with right:
    if run is not None:
        with errors_shown():
            draw_scores(state.pool, run)
    draw_samples(state.pool, count=8 if run is None else 4)
draw_health(state.pool)
draw_made_of(state.pool, BELOW, across=3)
catalogue_soon()  # what the Runs page will ask for
