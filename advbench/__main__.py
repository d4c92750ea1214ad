"""`python -m advbench` is `advbench`."""

from advbench.cli import main

main()
