"""Maps, neighbours, duplicates and summaries of a pool."""
