"""Runs the planned units, in this process or in others."""
