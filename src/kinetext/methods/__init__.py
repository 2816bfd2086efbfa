"""Methods: ways of teaching an image-text model motion. One module or package per method; the contract is base.py."""
