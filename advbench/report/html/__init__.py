"""The report of a run as one HTML page, and what the page is made of."""
