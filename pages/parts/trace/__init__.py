"""The parts of the page of wrong predictions."""
