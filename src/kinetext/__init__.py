"""kinetext: which way of teaching an image-text model motion works best on my videos, and do motion descriptions help?

The road of one clip: data (a video becomes frames) -> models (frames and texts become scores) with text (what classes
are called and how they move) -> training -> evaluation (scores become metrics) -> report. `cli` holds one command per
step, `tables` what travels between them. The workflow around it lives in ../../workflow.
"""

__version__ = "0.1.0"
