"""A video file in, exact frames of a clip out. Usable on its own: nothing here knows data sets or methods."""
