"""`python -m patchwarden`."""

from patchwarden.cli import main

main()
