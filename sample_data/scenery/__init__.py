"""A made landscape at two dates: every pixel follows from the seed and its place alone."""
