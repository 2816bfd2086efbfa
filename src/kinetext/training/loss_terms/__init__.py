"""Loss terms that a run adds to the losses of its method (`training.terms`); one module each, the contract is base.py."""
