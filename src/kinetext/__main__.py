"""`python -m kinetext` is the command `kinetext`."""

from kinetext.cli import main

main()
