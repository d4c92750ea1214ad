"""One attack on one batch of images, measured by the judge."""
