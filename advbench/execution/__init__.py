"""Doing what was planned, in this process or in others."""
