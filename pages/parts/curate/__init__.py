"""The parts of the Curate page: what to try, what comes of it, saving, and the export."""
