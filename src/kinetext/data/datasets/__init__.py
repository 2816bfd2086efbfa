"""Data set plug-ins: one module with one subclass of `base.Dataset` per data set."""
