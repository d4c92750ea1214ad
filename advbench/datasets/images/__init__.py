"""Images themselves: read from files, kept in memory, told apart by their ids."""
