"""Loss terms that a run adds to the losses of the method (`training.terms`), one per module. Interface: base.py."""
