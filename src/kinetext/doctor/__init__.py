"""Check an installation and a results folder. Nothing is changed."""
