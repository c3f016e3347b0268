"""Pictures of digits, from a file in the IDX format or drawn here. A picture is 28 × 28 bytes, 0 for paper and 255 for ink.

Its bytes, row by row, are the request to the classifier.

*Source*: the IDX format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opml_min.model.errors import ModelError

SIDE = 28
UNSIGNED_BYTES = 8  # the format's code for this type
GZIP_MAGIC = b"\x1f\x8b"
INK = {" ": 0, ".": 0, "+": 128, "#": 255}
SEVEN = """\
..............
..............
..............
...########+..
...########+..
.........##...
........+#+...
........##....
.......+#+....
.......##.....
......+#+.....
......##......
......##......
..............
"""  # one character stands for 2 × 2 pixels


class PictureError(ModelError):
    """A file is not in the IDX format, or does not have the picture."""


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Reads the array of bytes in a file, which may be compressed with gzip. dimensions: 3 for pictures, 1 for labels"""
    try:
        data = path.read_bytes()
        if data.startswith(GZIP_MAGIC):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise PictureError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is damaged'}") from error
    head = 4 + 4 * dimensions
    if len(data) < head or data[:4] != bytes([0, 0, UNSIGNED_BYTES, dimensions]):
        raise PictureError(f"{path} is not an IDX file of bytes in {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", data[4:head])
    if len(data) != head + int(np.prod(shape, dtype=object)):
        raise PictureError(f"{path} is damaged: {len(data)} bytes do not hold {' × '.join(map(str, shape))}")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def read_pictures(path: Path) -> NDArray[np.uint8]:
    """Reads all pictures of a file, as an array (pictures, pixels)."""
    pictures = read_idx(path, 3)
    return pictures.reshape(len(pictures), -1)


def picture_request(path: Path, index: int) -> bytes:
    """The request that asks about one picture of a file."""
    pictures = read_pictures(path)
    if index >= len(pictures):
        raise PictureError(f"{path} has {len(pictures)} pictures, numbered from 0, and no number {index}")
    return bytes(pictures[index])


def drawn_request() -> bytes:
    """The request that asks about the seven above."""
    rows = [[INK[character] for character in row] for row in SEVEN.splitlines()]
    return bytes(np.array(rows, np.uint8).repeat(2, axis=0).repeat(2, axis=1).reshape(-1))


def shown(picture: bytes) -> str:
    """Draws a picture in characters, one per column and two rows."""
    pixels = np.frombuffer(picture, np.uint8).reshape(-1, SIDE)
    halves = np.maximum(pixels[0::2], pixels[1::2])
    return "\n".join("".join(" ░▒▓█"[value // 52] for value in row).rstrip() for row in halves.tolist())
