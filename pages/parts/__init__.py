"""What several pages share: cards, charts, the map, the open pool."""
