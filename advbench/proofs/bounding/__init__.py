"""Bounds of a network on a ball: by intervals, and by linear functions that are carried backward."""
