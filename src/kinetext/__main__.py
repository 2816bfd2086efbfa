"""Entry point of `python -m kinetext`, which is the same as the command `kinetext`."""

from kinetext.cli import main

main()
