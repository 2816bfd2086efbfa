"""Methods that adapt an image-text model to video, one module or package per method. The interface is in base.py."""
