"""`python -m getam` is `getam`."""

from getam.cli import run

run()
