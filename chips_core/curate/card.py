"""The data card: one page of HTML about an export, with its plots in it and nothing from elsewhere.

All text of the data set is escaped; the page may load nothing and run nothing (its own content policy says so).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from chips_core.curate.card_plots import coverage, scores, stacked
from chips_core.curate.card_style import STYLE
from chips_core.curate.export_plan import ExportPlan
from chips_core.curate.recipe import AUDIT, CLIPCOV, RANDOM, budget_in_words, title_of_method

TITLES = {"label": "Classes", "modality": "Modalities", "body_part": "Body parts", "source": "Sources"}
OWN_WORDS = {
    AUDIT: "Audit, then select (CHIPS Lens): the most suspect pairs go; of the rest those come first that stand for "
    "all, by herding within each source. Welling: Herding Dynamical Weights to Learn. ICML 2009.",
    RANDOM: "Random, seeded.",
    CLIPCOV: "ClipCov. Joshi, Jain, Payani, Mirzasoleiman: Data-Efficient Contrastive Language-Image Pretraining: "
    "Prioritizing Data Quality over Quantity. AISTATS 2024.",
}
FORMS = {
    "csv": "a CSV table",
    "jsonl": "JSON Lines",
    "parquet": "a Parquet table",
    "webdataset": "WebDataset shards",
    "openclip": "a training table for open_clip",
    "huggingface": "a Hugging Face dataset",
    "exclude": "a list of the pairs left out",
}
BEHIND = {AUDIT: ("queue", "ecif_audit")}  # whose papers a method rests on
RULES = {
    "method": "Method",
    "budget": "Budget",
    "seed": "Seed",
    "quotas": "At most",
    "at_least": "At least of every class",
    "pin_confirmed": "Confirmed pairs first",
    "drop": "Share that the audit drops",
    "released": "ClipCov as released",
}
LIMITS = (
    "Scores are estimates of one encoder against one target set; they say nothing of clinical truth.",
    "A rare but correct finding can look odd to a model: compare the coverage above before using the selection.",
    "Images are made anew without metadata unless originals were asked for; what is burnt into their pixels stays.",
    "Captions are as in the source: nobody has searched them for names.",
    "Not a medical device; not evidence that a pair is correct.",
)


@dataclass(frozen=True)
class CardFacts:
    """What the card says besides the plan."""

    pairs: int
    form: str
    warnings: tuple[str, ...]
    pool: str
    pool_fingerprint: str


def data_card(plan: ExportPlan, facts: CardFacts) -> str:
    """Returns the page."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        f"<title>Data card: {escape(plan.selection)}</title><style>{STYLE}</style></head><body>",
        _header(plan, facts),
        _warnings(facts.warnings),
        "<h2>Where every row went</h2>",
        stacked({"in this export": facts.pairs, **plan.dropped, **_unwritten(plan, facts)}),
        _chosen(plan),
        _coverage(plan),
        _scores(plan),
        _licences(plan),
        "<h2>Limits</h2>",
        _list(LIMITS),
        _provenance(plan, facts),
        "<footer>Made by CHIPS Lens. Checksums of the files are in manifest.json beside this page.</footer>",
        "</body></html>\n",
    ]
    return "".join(parts)


def _header(plan: ExportPlan, facts: CardFacts) -> str:
    total = len(plan.table) + len(plan.left_behind)
    classes = next((found.counts for found in plan.coverage if found.column == "label"), ())
    named = [(before, after) for value, before, after in classes if value and before]
    figures = [(f"{facts.pairs:,}", "pairs of an image and a caption"), (f"{facts.pairs / max(total, 1):.1%}", "kept")]
    if named:
        figures.append((f"{sum(1 for _, after in named if after):,} of {len(named):,}", "classes have pairs"))
    if plan.suspect is not None:
        before, after = plan.suspect
        figures.append((f"{before:.1%} → {after:.1%}", "held suspect, before and after"))
    tiles = "".join(f'<div class="figure"><b>{value}</b><span>{words}</span></div>' for value, words in figures)
    form = FORMS.get(facts.form, facts.form)
    return (
        f'<header><p class="kicker">Data card</p><h1>{escape(plan.selection)}</h1>'
        f'<p class="lead">{facts.pairs:,} of {total:,} usable pairs, written as {escape(form)}.</p>'
        f'<div class="figures">{tiles}</div></header>'
    )


def _unwritten(plan: ExportPlan, facts: CardFacts) -> dict[str, int]:
    """Returns the pairs of the plan that could not be written, so that the rows add up."""
    missing = len(plan.table) - facts.pairs
    return {"chosen, but could not be written": missing} if missing > 0 else {}


def _warnings(words: Iterable[str]) -> str:
    found = list(words)
    return f'<div class="note" role="note">{_list(found)}</div>' if found else ""


def _chosen(plan: ExportPlan) -> str:
    """Returns how the pairs were chosen: the recipe in words, what the method said, and the papers."""
    recipe = _inner(plan.record.get("recipe", {}))
    asked = {name: value for name, value in recipe.items() if value not in ((), [], 0, False, "")}
    if AUDIT not in str(recipe.get("method", "")):
        asked.pop("drop", None)
    if "method" in asked:
        asked["method"] = title_of_method(str(asked["method"]))
    if "budget" in asked:
        asked["budget"] = budget_in_words(str(asked["budget"]))
    rules = [(RULES[name], _value(asked[name])) for name in RULES if name in asked]
    rules += [("By hand", _value(recipe["by"]))] if "by" in recipe and "method" not in recipe else []
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rules)
    body = f"<dl>{told}</dl>" if told else "<p>By hand, or it was not recorded.</p>"
    notes = [str(note) for note in plan.record.get("notes", ())]
    cited = _citations(str(recipe.get("method", "")))
    return (
        f"<h2>How it was chosen</h2>{body}{_list(notes)}"
        f"{'<h3>Methods and their papers</h3>' + _list(cited) if cited else ''}"
    )


def _inner(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    found = recipe.get("recipe")
    return found if isinstance(found, Mapping) else recipe


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)


def _citations(method: str) -> list[str]:
    """Returns one line a method of the recipe, and the papers that it rests on."""
    from chips_core.influence.methods import METHODS

    registry = {entry.name: f"{entry.title}. {entry.citation}" for entry in METHODS if entry.name != RANDOM}
    names = [part.strip().partition(":")[0] for part in method.split(",") if part.strip()]
    found = []
    for name in names:
        behind = BEHIND.get(name, ())
        known = [key for key in (name, f"{name}_audit", f"{name}_paper") if key in registry]
        found += [OWN_WORDS[name]] if name in OWN_WORDS else [registry[key] for key in known[:1]]
        found += [registry[key] for key in behind if key in registry]
    return list(dict.fromkeys(found))


def _coverage(plan: ExportPlan) -> str:
    told = [found for found in plan.coverage if any(value for value, _, _ in found.counts)]
    if not told:
        return "<h2>Coverage before and after</h2><p>The source names no class, modality, body part or source.</p>"
    key = '<p class="key"><span><i class="swatch" style="background:var(--base)"></i>before</span>'
    key += '<span><i class="swatch k0"></i>after</span><span>all usable pairs, target and test set included</span></p>'
    first, *others = (coverage(one, title=TITLES[one.column]) for one in told)
    beside = "".join(f"<section>{one}</section>" for one in others)
    return f'<h2>Coverage before and after</h2>{key}{first}<div class="beside">{beside}</div>'


def _scores(plan: ExportPlan) -> str:
    if not plan.scores:
        return ""
    words = "Grey: all candidates. Line: this export. Clipped at the first and the last percent."
    return f'<h2>Scores before and after</h2><p class="quiet">{words}</p>{scores(plan.scores)}'


def _licences(plan: ExportPlan) -> str:
    """Returns what the source says of its licence, or that it says nothing."""
    if plan.licences:
        rows = "".join(
            f"<tr><td>{escape(found.name)}</td><td class='v'>{escape(found.first_line) or '(empty)'}</td>"
            f"<td><code>{found.sha256[:16]}</code></td></tr>"
            for found in plan.licences
        )
        body = f"<table><tr><th>file of the source</th><th>its first line</th><th>SHA-256</th></tr>{rows}</table>"
        body += "<p class='quiet'>Read the files themselves before passing this export on.</p>"
    else:
        body = "<p>The source says nothing about its licence: look it up for every source below before passing on.</p>"
    named = next((found.counts for found in plan.coverage if found.column == "source"), ())
    sources = [f"{value}: {after:,} pairs" for value, _, after in named if value and after]
    return f"<h2>Licences of the sources</h2>{body}{_list(sources)}"


def _provenance(plan: ExportPlan, facts: CardFacts) -> str:
    lines = [("Pool", facts.pool), ("Pairs of the pool", facts.pool_fingerprint)]
    lines += [(f"Run {name}", mark) for name, mark in plan.runs.items()]
    lines += [("Selection", str(plan.record["recipe"]["fingerprint"]))] if _has_mark(plan) else []
    told = "".join(f"<dt>{escape(name)}</dt><dd><code>{escape(mark)}</code></dd>" for name, mark in lines)
    return f"<h2>Fingerprints</h2><dl>{told}</dl>"


def _has_mark(plan: ExportPlan) -> bool:
    recipe = plan.record.get("recipe", {})
    return isinstance(recipe, Mapping) and "fingerprint" in recipe


def _list(lines: Sequence[str]) -> str:
    found = "".join(f"<li>{escape(str(line))}</li>" for line in lines)
    return f"<ul>{found}</ul>" if found else ""
