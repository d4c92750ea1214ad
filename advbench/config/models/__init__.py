"""Models of a suite: those that are judged, and those that attacks are made on."""
