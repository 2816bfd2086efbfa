"""Text providers, one per module: what a class is called and how it moves. The contract is in `base.py`."""
