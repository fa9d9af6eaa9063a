"""The reviewer: one pair at a time, a key for each verdict, saved before the next pair is drawn."""

from pages.parts.review.desk import Desk, review
from pages.parts.review.resources import ledger_of, nearby_for, run_of

__all__ = ["Desk", "ledger_of", "nearby_for", "review", "run_of"]
