"""Images: reading them from files, caching them, and identifying them by ids."""
