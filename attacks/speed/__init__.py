"""Faster forms of a network: built, tested, and rebuilt when the network changes."""
