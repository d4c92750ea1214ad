"""Options for the pictures that are attacked."""
