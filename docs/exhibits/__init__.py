"""The gallery: what each command makes of an image, in pictures."""
