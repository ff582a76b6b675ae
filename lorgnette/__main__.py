"""`python -m lorgnette`, for torchrun and for environments without the installed command."""

from lorgnette.cli import main

main()
