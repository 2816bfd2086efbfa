"""Text providers, one per module: they give class names and descriptions of motion. `base.py` has the base class."""
