"""The motions of the rendered data sets, one file per kind of motion, and how their clips are drawn and written."""
