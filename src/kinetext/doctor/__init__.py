"""Check an installation and a results folder, without changing either."""
