"""The figures of the report: one module per kind of figure, on the canvas of `canvas.py`."""
