"""Faster forms of a network, and memory that is kept."""
