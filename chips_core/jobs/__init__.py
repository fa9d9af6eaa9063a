"""The steps: the one place that joins everything."""
