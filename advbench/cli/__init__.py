"""The commands, one module for each group of them: they read flags and print; the work is done elsewhere. No torch."""
