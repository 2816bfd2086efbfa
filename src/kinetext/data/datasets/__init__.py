"""Plug-ins for data sets. Each is a module with one subclass of `base.Dataset`."""
