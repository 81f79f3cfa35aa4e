"""Rasters of probability: the stored format, thresholds, fusion, and corrections of boundaries."""
