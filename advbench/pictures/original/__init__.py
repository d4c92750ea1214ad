"""Photographs attacked at their own size: the picture that is saved does it once it is opened again."""
