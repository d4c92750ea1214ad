"""Faster forms of a network: made, tried, and made anew when the network changes."""
