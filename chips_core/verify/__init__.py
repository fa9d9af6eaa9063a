"""Proof by evaluation and training."""
