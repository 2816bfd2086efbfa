"""Images in a request: each is named by a hash of its pixels, and its JPEG file is sent in place of the name.

Cached requests are therefore small and hold no video. The hash is of the pixels, the JPEG quality and the shape, so that
cached replies stay valid if another version of the JPEG library writes other bytes.
"""

import hashlib
from typing import Any

import numpy as np

from kinetext.data.images import encode_image


def image_parts(
    frames_THWC: np.ndarray, quality: int, detail: str | None, images: dict[str, bytes]
) -> list[dict[str, Any]]:
    """Return the frames of a clip, uint8 RGB [T, H, W, 3], as parts of a message; add their JPEG files to `images`.

    `detail` is OpenAI's resolution of an image; None: not sent.
    """
    parts = []
    for frame_HWC in np.ascontiguousarray(frames_THWC):
        head = f"{frame_HWC.shape} {quality} ".encode()
        name = "sha256:" + hashlib.sha256(head + frame_HWC.tobytes()).hexdigest()
        if name not in images:
            images[name] = encode_image(frame_HWC, "jpeg", quality)
        parts.append(
            {"type": "image_url", "image_url": {"url": name, **({} if detail is None else {"detail": detail})}}
        )
    return parts
