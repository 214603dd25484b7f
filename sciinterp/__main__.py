"""``python -m sciinterp``, as ``torchrun -m sciinterp`` calls it."""

from sciinterp.cli import main

main()
