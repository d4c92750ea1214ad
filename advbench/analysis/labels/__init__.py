"""Models with several labels for each image: their answers as numbers, and the rates of each label. No torch."""
