"""Networks that score change: one file an architecture."""
