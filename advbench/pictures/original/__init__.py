"""Photographs attacked at their original size: the saved picture fools the model when it is opened again."""
