"""What kind of change a region is: spectral indices, rules, and classes of land cover."""
