"""Labelled image pairs: read, augmented, balanced, split, and made from single images."""
