"""The names of data sets on the command line and in suites."""
