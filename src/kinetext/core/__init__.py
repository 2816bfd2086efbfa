"""Basic code that all other packages use: tables, files, paths, plug-ins, processes."""
