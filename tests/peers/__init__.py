"""Strength and speed of the attacks compared with other libraries: `python -m tests.peers`."""

import os

# Read when torch is imported; threads that spin while they wait disturb every measurement.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
