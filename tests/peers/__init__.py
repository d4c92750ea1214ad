"""Attacks side by side with those of other libraries: strength and speed; `python -m tests.peers`."""
