"""`python -m advbench` is `advbench`."""

from advbench.cli.main import main

main()
