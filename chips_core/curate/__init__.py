"""Selections and their export."""
