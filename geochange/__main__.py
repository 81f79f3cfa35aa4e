"""`python -m geochange`."""

from geochange.cli import main

main()
