"""Frames and class texts in, scores out."""
