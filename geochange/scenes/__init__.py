"""A scene comes in: grids, windowed reads with validity, and how well two dates fit each other."""
