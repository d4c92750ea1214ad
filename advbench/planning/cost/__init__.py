"""The cost of a unit of work, estimated before it is run."""
