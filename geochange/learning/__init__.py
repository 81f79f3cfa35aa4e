"""Teaching networks: labelled pairs, variation, losses, and the loops that fit."""
