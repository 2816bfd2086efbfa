"""What every plug-in promises, over all that the registry finds."""
