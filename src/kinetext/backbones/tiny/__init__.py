"""`kinetext-tiny`, the small CLIP of the demo: its pretraining, what it knows, its weights."""
