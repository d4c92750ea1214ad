"""The sources of classifiers."""
