"""A detector is run over a whole scene: tiles, blending, blocks as Dask tasks, one raster."""
