"""Training: fit a method to clips and texts, and write a checkpoint."""
