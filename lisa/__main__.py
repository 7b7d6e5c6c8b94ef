"""`python -m lisa` is the command `lisa`."""

from lisa.cli.main import run

run()
