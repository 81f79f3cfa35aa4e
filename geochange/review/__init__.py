"""People look at what was found, decide and correct; what they decided is kept, and becomes labels."""
