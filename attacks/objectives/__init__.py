"""Objectives of attacks other than the margin: rankings, gaps between classes, rivals."""
