"""Strength and speed of the attacks compared with other libraries: `python -m tests.peers`."""
