"""Results go out: thresholds, polygons, GIS layers, a picture, and scores."""
