"""The models of a suite: those that are judged, and the surrogates that attacks are made on."""
