"""Something scores change: the detectors, behind one contract."""
