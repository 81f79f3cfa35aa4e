"""Networks in files of other programs: what is known of them, and how they are run."""
