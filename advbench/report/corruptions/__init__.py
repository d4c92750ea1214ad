"""Errors under common corruptions, as the reports show them. No torch."""
