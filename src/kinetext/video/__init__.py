"""From a video file to exact frames of a clip. Usable on its own: nothing here knows data sets or methods."""
