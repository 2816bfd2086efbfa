"""Text providers, one per module. They give the names of classes and descriptions of motion; `base.py` has the base
class.
"""
