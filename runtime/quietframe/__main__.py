"""`python -m quietframe` is `quietframe`."""

from quietframe.cli import main

main()
