"""Regions and boxes as GIS features: traced, merged over seams, measured, simplified, written."""
