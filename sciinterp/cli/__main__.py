"""``python -m sciinterp.cli``."""

from sciinterp.cli import main

main()
