"""The pool on disk: manifest, arrays, tables, verdicts."""

from chips_core.store.check import CheckReport, Finding, Severity, check_pool
from chips_core.store.features import Features, Heads, Status
from chips_core.store.manifest import Artifact
from chips_core.store.pool import Pool
from chips_core.store.review import NamedSelection, Review, Undone, Verdict, content_hash
from chips_core.store.writer import FeatureWriter

__all__ = [
    "Artifact",
    "CheckReport",
    "FeatureWriter",
    "Features",
    "Finding",
    "Heads",
    "NamedSelection",
    "Pool",
    "Review",
    "Severity",
    "Status",
    "Undone",
    "Verdict",
    "check_pool",
    "content_hash",
]
