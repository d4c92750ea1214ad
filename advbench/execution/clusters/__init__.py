"""Runs units of work on the machines of a dask cluster."""
