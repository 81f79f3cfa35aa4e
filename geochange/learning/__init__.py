"""Training networks: options, samples, losses, and the loops that fit."""
