"""Networks that are built here."""
