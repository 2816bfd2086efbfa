"""Decode exact frames of a clip from a video file. The package can be used alone, without data sets and methods."""
