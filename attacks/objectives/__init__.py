"""What attacks descend beside the margin: rankings, gaps between classes, rivals."""
