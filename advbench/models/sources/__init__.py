"""The loaders of classifiers: one module for each source."""
