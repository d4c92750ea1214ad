"""Commands for maintainers, run with `python -m`."""
