"""The parts of the Map page: what is on the desk, the controls above the map, the map, and the panel beside it."""
