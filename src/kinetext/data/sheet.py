"""Draw the contact sheet of `kinetext inspect`: one frame of each clip with its name and its error."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kinetext.config.data import FrameOptions
from kinetext.core.files import atomic_write
from kinetext.core.palette import COLOURS, ERROR, INK, MUTED, PAPER, TINT
from kinetext.data.datasets.base import Clip
from kinetext.video.decode import decode_clip

COLUMNS = 8
WIDTH, HEIGHT, GAP, LINE = 176, 132, 12, 16  # px: of an image, between cells, of a line of text
COLOUR_OF_STATUS = {"failed": ERROR, "damaged": COLOURS[1], "truncated": COLOURS[1]}  # others are not outlined


@dataclass(frozen=True)
class Cell:
    """The middle frame of a clip, its status, and the error if the clip has no frame or is not intact."""

    status: str
    error: str | None = None
    frame_HWC: np.ndarray | None = None


def read_cell(options: FrameOptions, clip: Clip) -> Cell:
    """Decode the middle frame of a clip and scale it to fit into a cell. Errors are returned in the Cell."""
    if clip.error:
        return Cell("failed", clip.error)
    decoded = decode_clip(
        clip.path,
        lambda times_s: [len(times_s) // 2],
        clip.start_s,
        clip.end_s,
        _fit,
        options.max_px,
        options.max_duration_s,
        options.aspect,
    )
    return Cell(decoded.status, decoded.error, *decoded.frames_HWC)


def _fit(frames_THWC: np.ndarray) -> np.ndarray:
    height, width = frames_THWC.shape[1:3]
    scale = min(WIDTH / width, HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    images = (Image.fromarray(frame_HWC) for frame_HWC in frames_THWC)
    return np.stack([np.asarray(image.resize(size, Image.Resampling.LANCZOS)) for image in images])


def draw_sheet(cells: list[tuple[str, str, Cell]], output: Path) -> None:
    """Draw all cells, given as (title, note, cell), and write them as a PNG. Title and note are below the image."""
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    across, down = WIDTH + GAP, HEIGHT + 3 * LINE + 4 + GAP
    sheet = Image.new("RGB", (columns * across + GAP, rows * down + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (title, note, cell) in enumerate(cells):
        x, y = GAP + number % columns * across, GAP + number // columns * down
        _draw_cell(sheet, draw, x, y, title, note, cell)
    with atomic_write(output) as part:
        sheet.save(part, "PNG")


def _draw_cell(sheet: Any, draw: Any, x: int, y: int, title: str, note: str, cell: Cell) -> None:
    box = (x, y, x + WIDTH - 1, y + HEIGHT - 1)
    draw.rectangle(box, fill=TINT)
    colour = COLOUR_OF_STATUS.get(cell.status)
    if cell.frame_HWC is not None:
        image = Image.fromarray(cell.frame_HWC)
        sheet.paste(image, (x + (WIDTH - image.width) // 2, y + (HEIGHT - image.height) // 2))
    elif cell.error:
        for i, line in enumerate(_wrap(cell.error, _font(11), WIDTH - 20, 7)):
            draw.text((x + 10, y + 10 + LINE * i), line, colour, _font(11))
    if colour:
        draw.rectangle(box, outline=colour, width=3)
        if cell.frame_HWC is not None:
            draw.rectangle((x, y, x + 10 + _font(11).getlength(cell.status), y + LINE + 2), fill=colour)
            draw.text((x + 5, y + 2), cell.status, PAPER, _font(11))
    lines = _wrap(title, _font(12), WIDTH, 2)
    for i, line in enumerate(lines):
        draw.text((x, y + HEIGHT + 3 + LINE * i), line, INK, _font(12))
    for line in _wrap(note, _font(10), WIDTH, 1):
        draw.text((x, y + HEIGHT + 4 + LINE * len(lines)), line, MUTED, _font(10))


def _wrap(text: str, font: Any, width: int, max_lines: int) -> list[str]:
    """Return the text as at most `max_lines` lines of `width` px. A longer text ends with an ellipsis."""
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    lines: list[str] = []
    while text and len(lines) < max_lines:
        fits = len(text)
        while fits > 1 and font.getlength(text[:fits]) > width:
            fits -= 1
        if fits < len(text) and len(lines) == max_lines - 1:
            lines.append(text[: max(fits - 1, 1)].rstrip() + "…")
            break
        cut = text.rfind(" ", 0, fits + 1) if fits < len(text) else fits
        cut = cut if cut > 0 else fits
        lines.append(text[:cut])
        text = text[cut:].lstrip()
    return lines


@cache
def _font(size_px: int) -> Any:
    """Return the font DejaVu Sans, which comes with Matplotlib and has the characters of most alphabets."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size_px)
