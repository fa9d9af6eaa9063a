"""The data card: one page of HTML about an export, with its plots in it and nothing from elsewhere.

All text of the data set is escaped; the page may load nothing and run nothing (its own content policy says so).
"""

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from chips_core.curate.export_plan import Coverage, ExportPlan

MOST_VALUES = 40
TITLES = {"label": "Classes", "modality": "Modalities", "source": "Sources"}
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2329}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.15rem .6rem .15rem 0;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.bar{background:#dfe5ea;height:.7rem;min-width:12rem}.bar i{background:#2b6f8f;height:.7rem;display:block}
pre{white-space:pre-wrap;background:#f4f6f8;padding:.7rem}
"""
LIMITS = (
    "Scores are estimates of one encoder against one target set; they say nothing of clinical truth.",
    "The pool holds no licences: before passing these files on, look up those of the sources named below.",
    "Images are made anew without metadata; what is burnt into their pixels is still there.",
)


def data_card(plan: ExportPlan, *, pairs: int, warnings: Iterable[str]) -> str:
    """Returns the page."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>Data card: {escape(plan.selection)}</title><style>{STYLE}</style></head><body>",
        f"<h1>Data card: {escape(plan.selection)}</h1><p>{pairs:,} pairs of an image and its caption.</p>",
        _list("To know", warnings),
        "<h2>Left behind, and why</h2>",
        _table(("reason", "pairs"), [(reason, f"{count:,}") for reason, count in plan.dropped.items() if count]),
        *(_coverage(found) for found in plan.coverage),
        f"<h2>How it was chosen</h2><pre>{_json(plan.record.get('recipe', {}))}</pre>",
        _list("Notes of the method", plan.record.get("notes", ())),
        _list("Limits", LIMITS),
        "</body></html>\n",
    ]
    return "".join(parts)


def _coverage(found: Coverage) -> str:
    """Returns bars of one column before (grey) and after (blue)."""
    shown = found.counts[:MOST_VALUES]
    longest = max((before for _, before, _ in shown), default=1) or 1
    rows = [
        f'<tr><td>{escape(value) or "not said"}</td><td class="n">{before:,}</td><td class="n">{after:,}</td><td>'
        f'<div class="bar" style="width:{60 * before / longest:.1f}%">'
        f'<i style="width:{100 * after / max(before, 1):.1f}%"></i></div></td></tr>'
        for value, before, after in shown
    ]
    more = len(found.counts) - len(shown)
    tail = f"<p>and {more:,} more</p>" if more > 0 else ""
    head = '<tr><th>value</th><th class="n">before</th><th class="n">after</th><th></th></tr>'
    return f"<h2>{TITLES[found.column]}</h2><table>{head}{''.join(rows)}</table>{tail}"


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = "".join(f'<tr><td>{escape(name)}</td><td class="n">{escape(value)}</td></tr>' for name, value in rows)
    return f'<table><tr><th>{head[0]}</th><th class="n">{head[1]}</th></tr>{lines}</table>'


def _list(title: str, lines: Iterable[str]) -> str:
    found = "".join(f"<li>{escape(str(line))}</li>" for line in lines)
    return f"<h2>{title}</h2><ul>{found}</ul>" if found else ""


def _json(value: Mapping[str, Any]) -> str:
    return escape(json.dumps(value, indent=1, allow_nan=False))
