"""The plots of the data card, as plain HTML and inline SVG; every text in them is escaped here."""

from collections.abc import Mapping, Sequence
from html import escape

from chips_core.curate.export_plan import Coverage, ScoreChange
from chips_core.influence.titles import title_of
from chips_core.numbers import number

WIDE, HIGH = 300, 84
MOST_VALUES = 40
KEYS = 7  # inks of the stacked bar
TOWARDS = {"suspect": "high = suspect", "valuable": "high = valuable", "neutral": ""}


def stacked(parts: Mapping[str, int]) -> str:
    """Returns one bar of all rows and its legend as a table, the kept ones first."""
    total = max(sum(parts.values()), 1)
    shown = [(name, count) for name, count in parts.items() if count]
    bar = "".join(
        f'<i class="k{min(at, KEYS - 1)}" style="width:{100 * count / total:.3f}%"></i>'
        for at, (_, count) in enumerate(shown)
    )
    lines = "".join(
        f'<tr><td><i class="swatch k{min(at, KEYS - 1)}"></i>{escape(name)}</td><td class="n">{count:,}</td>'
        f'<td class="n">{count / total:.1%}</td></tr>'
        for at, (name, count) in enumerate(shown)
    )
    head = '<tr><th>rows of the source</th><th class="n">rows</th><th class="n">share</th></tr>'
    return f'<div class="stack" role="img" aria-label="Where every row went">{bar}</div><table>{head}{lines}</table>'


def coverage(found: Coverage, *, title: str) -> str:
    """Returns the values of one column before (grey) and after (in colour), what is lost marked."""
    shown = found.counts[:MOST_VALUES]
    longest = max((before for _, before, _ in shown), default=1) or 1
    rows = "".join(_coverage_line(value, before, after, longest=longest) for value, before, after in shown)
    more = len(found.counts) - len(shown)
    lost = sum(1 for _, before, after in found.counts if before and not after)
    notes = [f"and {more:,} more"] if more > 0 else []
    notes += [f"{lost:,} of {len(found.counts):,} have no pair left"] if lost else []
    tail = f'<p class="quiet">{"; ".join(notes)}</p>' if notes else ""
    head = '<tr><th>value</th><th class="n">before</th><th class="n">after</th><th class="n">kept</th><th></th></tr>'
    return f"<h3>{escape(title)}</h3><table>{head}{rows}</table>{tail}"


def _coverage_line(value: str, before: int, after: int, *, longest: int) -> str:
    kept = f"{after / before:.1%}" if after else "lost"
    bars = "".join(
        f'<i class="{name}" style="width:{100 * count / longest:.2f}%"></i>'
        for name, count in (("b", before), ("a", after))
    )
    row = ' class="lost"' if before and not after else ""
    return (
        f'<tr{row}><td class="v">{escape(value) or "not said"}</td><td class="n">{before:,}</td>'
        f'<td class="n">{after:,}</td><td class="n">{kept}</td><td><div class="bar">{bars}</div></td></tr>'
    )


def scores(found: Sequence[ScoreChange]) -> str:
    """Returns the distributions before (grey) and after (a line), side by side."""
    return f'<div class="shapes">{"".join(_shape(one) for one in found)}</div>'


def _shape(change: ScoreChange) -> str:
    found = change.shape
    most = max(*found.before, *found.after[0], 1e-9)
    title = title_of(change.column)
    words = f"{title}: median {number(found.middle[0])} before, {number(found.middle[1])} after"
    zero = f'<line x1="{found.zero * WIDE:.1f}" x2="{found.zero * WIDE:.1f}" y1="0" y2="{HIGH}"/>' if found.zero else ""
    return (
        f"<figure><figcaption><span>{escape(title)}</span>"
        f'<span class="quiet">{TOWARDS[change.higher_is]}</span></figcaption>'
        f'<svg class="wide" viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{escape(words)}">'
        f'<path d="{_steps(found.before, most)}L{WIDE} {HIGH}L0 {HIGH}Z" style="fill:var(--base)"/>'
        f'<g style="stroke:var(--quiet);stroke-dasharray:2 3">{zero}</g>'
        f'<path d="{_steps(found.after[0], most)}" style="fill:none;stroke:var(--ink);stroke-width:1.8"/></svg>'
        f'<div class="ends"><span>{number(found.edges[0])}</span><span>{number(found.edges[-1])}</span></div>'
        f'<p class="quiet">median {number(found.middle[0])} → {number(found.middle[1])}</p></figure>'
    )


def _steps(shares: Sequence[float], most: float) -> str:
    step = WIDE / len(shares)
    return "".join(
        f"{'L' if at else 'M'}{at * step:.1f} {HIGH - share / most * (HIGH - 3):.1f}"
        f"L{(at + 1) * step:.1f} {HIGH - share / most * (HIGH - 3):.1f}"
        for at, share in enumerate(shares)
    )
