"""A plot of the loss: as an SVG file, and in characters for a terminal.

*Source*: W3C, Scalable Vector Graphics 1.1 (`polyline`, `text`).
"""

from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 400, 60, 40, 20, 40  # of the picture, and of its margins
MOST_POINTS = 600
EIGHTHS = " ▁▂▃▄▅▆▇█"


def means(losses: Sequence[float], most: int) -> list[float]:
    """Return at most so many means of consecutive losses."""
    pieces = np.array_split(np.asarray(losses, np.float64), min(most, len(losses)))
    return [float(piece.mean()) for piece in pieces]


def _range(values: Sequence[float]) -> tuple[float, float]:
    least, largest = min(values), max(values)
    return (least, largest) if largest > least else (least - 0.5, largest + 0.5)


def svg(losses: Sequence[float], title: str) -> str:
    """Draw the losses of updates 1, 2, …"""
    points = means(losses, MOST_POINTS)
    least, largest = _range(points)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(share: float) -> float:
        return LEFT + width * share

    def y(value: float) -> float:
        return TOP + height * (largest - value) / (largest - least)

    line = " ".join(f"{x((i + 0.5) / len(points)):.1f},{y(value):.1f}" for i, value in enumerate(points))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="14">{escape(title)}</text>',
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = least + (largest - least) * share
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3f}</text>')
        parts.append(f'<text x="{x(share):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{round(len(losses) * share)}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">updates</text>')
    parts.append(f'<polyline points="{line}" fill="none" stroke="#1f6feb" stroke-width="1.5"/>')
    return "\n".join([*parts, "</svg>", ""])


def characters(losses: Sequence[float], width: int = 60, height: int = 8) -> str:
    """Draw the losses as bars, with the largest and the least value beside them."""
    points = means(losses, width)
    least, largest = _range(points)
    levels = [1 + round((8 * height - 1) * (value - least) / (largest - least)) for value in points]
    rows = []
    for row in reversed(range(height)):
        bars = "".join(EIGHTHS[min(8, max(0, level - 8 * row))] for level in levels)
        label = f"{largest:.3f}" if row == height - 1 else f"{least:.3f}" if row == 0 else ""
        rows.append(f"{label:>8} {bars}".rstrip())
    return "\n".join(rows)
