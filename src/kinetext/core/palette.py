"""Colours and markers of all figures. The colours are Okabe and Ito's, which colour-blind readers can distinguish.

Colour never carries meaning alone: every figure also uses markers or dashes.
"""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
GREY, INK, GRID, PAPER = "#c9ccd1", "#22262b", "#eef0f2", "#ffffff"
MUTED, EDGE, LINE, TINT = "#5d656e", "#8a929b", "#e3e6ea", "#f6f7f9"  # text of less weight, borders, backgrounds
ERROR = "#c8102e"
