"""Labelled image pairs: read, augmented, balanced, split, and synthesized from single images."""
