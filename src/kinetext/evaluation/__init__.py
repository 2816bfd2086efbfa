"""Predictions of clips, metrics of predictions, and confidence intervals of metrics."""
