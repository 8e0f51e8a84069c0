"""Image files to uint8 arrays of one size, on all cores."""

import concurrent.futures
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import tqdm
from PIL import Image, ImageOps, UnidentifiedImageError

from sib_jax.data.errors import DataError

log = logging.getLogger(__name__)


def decode(paths: Sequence[Path], out: np.ndarray) -> None:
    """Decodes image files into `out`, with a progress line on a terminal.

    Args:
      paths: n files of any format that Pillow reads.
      out: uint8 [n, size, size, channels] to fill; channels is 1 or 3.

    Raises:
      DataError: a file is no image, or damaged; the message names it and the reason.
    """
    size, channels = out.shape[1], out.shape[3]

    def one(index: int) -> None:
        with paths[index].open("rb") as file:
            out[index] = decode_one(file, size, channels, str(paths[index]))

    run_on_all_cores(one, len(paths))


def run_on_all_cores(work: Callable[[int], None], count: int) -> None:
    """Calls work(0) ... work(count - 1) in threads: Pillow decodes without Python's lock."""
    log.info("decoding %d images (once)", count)
    # The first error ends all: what has not begun is dropped.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = [pool.submit(work, i) for i in range(count)]
        try:
            done = concurrent.futures.as_completed(futures)
            for future in tqdm.tqdm(
                done,
                "decoding",
                count,
                unit=" images",
                disable=not sys.stderr.isatty(),
                leave=False,
            ):
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def decode_one(file: IO[bytes], size: int, channels: int, name: str) -> np.ndarray:
    """One image: shorter side scaled to `size`, centre cropped to a square.

    Orientation is that of the EXIF tag; transparent pixels are shown on white.

    Args:
      file: the image file.
      size: height and width of the result, in pixels.
      channels: 3 for RGB, 1 for gray.
      name: what an error calls the file.

    Returns:
      uint8 [size, size, channels].
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                square = _square(ImageOps.exif_transpose(image), size)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{name} cannot be read as an image ({error}); repair or remove it"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name} is too large an image ({error}); scale it down") from error
    pixels = np.asarray(_rgb(square).convert("RGB" if channels == 3 else "L"))
    return pixels.reshape(size, size, channels)


def _square(image: Image.Image, size: int) -> Image.Image:
    image = _rgb(image)
    if image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow's as RGB, transparency on white, 16 bits scaled to 8."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image, np.float64)
        return Image.fromarray(np.clip(values / 257, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
