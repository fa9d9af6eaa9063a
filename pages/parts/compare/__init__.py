"""The parts of the Compare page: what is compared, and how the difference is shown."""
