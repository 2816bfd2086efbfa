"""Predictions of clips, metrics of predictions, intervals of metrics."""
