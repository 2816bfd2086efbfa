"""Rotate and mirror frames as the display matrix of the file states, because decoders do not apply it."""

from typing import Any, NamedTuple

import numpy as np


class Orientation(NamedTuple):
    """How a decoded frame becomes the displayed one: transpose, then flip left-right, then flip upside down."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def rotation_deg(self) -> int:
        """The counter-clockwise rotation in degrees, 0 to 270. A mirrored frame is flipped left-right first."""
        if self.transpose:
            return 270 if self.flip_x else 90
        return 180 if self.flip_y else 0

    def apply(self, frame_HWC: np.ndarray) -> np.ndarray:
        """Return the frame as displayed. It is a view of `frame_HWC`, not a copy."""
        if self.transpose:
            frame_HWC = frame_HWC.swapaxes(0, 1)
        return frame_HWC[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


def orientation_of(frame: Any) -> Orientation:
    """Return the orientation of a decoded frame.

    The display matrix has three rows of int32: a pixel at (x, y) is shown at (a x + c y, b x + d y), up to a shift,
    with a, b in the first row and c, d in the second. Other angles are rounded to quarter turns.
    """
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return Orientation()
    (a, b, _), (c, d, _), _ = np.frombuffer(side_data, np.int32).reshape(3, 3).astype(np.int64).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(flip_x=a < 0, flip_y=d < 0)
    return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)
