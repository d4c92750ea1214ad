"""The kinds of data sets that are read from files, and the hub."""
