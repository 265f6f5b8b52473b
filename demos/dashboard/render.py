"""The heat map of the processor's cores: a row for each core, a column for each second, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

__all__ = ["heatmap"]

_SCALE = 2  # pixels for one of CSS, so that it is crisp on a dense screen
_CELL = 5  # the sides of a cell and the gap between two, in pixels of CSS
_GAP = 1
_HEIGHT = 224  # what all rows together may take, and what one row may at most
_TALLEST = 112
_LEVELS = 64

# From idle to busy, as red, green, blue and opacity. Idle is nearly transparent and all hues are of medium
# lightness, so one image suits a light page and a dark one.
_IDLE_TO_BUSY = np.array(
    [(120, 134, 150, 0.14), (20, 160, 148, 0.62), (20, 160, 148, 1), (240, 160, 40, 1), (226, 66, 66, 1)]
)
_STOPS = (0, 0.2, 0.5, 0.75, 1)


def _palette() -> tuple[bytes, bytes]:
    """Return the colours and the opacities: of nothing (the gaps), of a cell without data, of the levels."""
    at = np.linspace(0, 1, _LEVELS)
    red, green, blue, alpha = (np.interp(at, _STOPS, channel) for channel in _IDLE_TO_BUSY.T)
    colours = np.column_stack([red, green, blue]).round().astype(np.uint8)
    opacities = (alpha * 255).round().astype(np.uint8)
    return bytes(3) + colours[:1].tobytes() + colours.tobytes(), b"\x00\x0e" + opacities.tobytes()


_COLOURS, _OPACITIES = _palette()


def heatmap(history: Sequence[Sequence[float]], cores: int, columns: int) -> bytes:
    """Draw the last ``columns`` seconds, newest at the right edge; NaN and missing seconds stay pale.

    Colours by palette: the picture has few, and one byte a pixel is a quarter of the work.
    """
    load = np.full((cores, columns), np.nan)
    if recent := history[-columns:]:
        load[:, -len(recent) :] = np.array(recent, dtype=float).T
    level = 2 + np.clip(load, 0, 100) / 100 * (_LEVELS - 1)
    level = np.nan_to_num(level, nan=1).round().astype(np.uint8)

    tall = max(2, min(_TALLEST, _HEIGHT // cores))
    cell = np.zeros((tall * _SCALE, _CELL * _SCALE), dtype=np.uint8)
    cell[: (tall - _GAP) * _SCALE, : (_CELL - _GAP) * _SCALE] = 1
    image = Image.fromarray(np.kron(level, cell))
    image.putpalette(_COLOURS)
    file = io.BytesIO()
    image.save(file, "PNG", transparency=_OPACITIES)
    return file.getvalue()
