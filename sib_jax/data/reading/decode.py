"""Image files to uint8 arrays of one size, on all cores."""

import concurrent.futures
import io
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import IO, TypeVar

import numpy as np
import tqdm
from PIL import Image, ImageOps, UnidentifiedImageError

from sib_jax.data.errors import DataError
from sib_jax.data.reading.files import Files
from sib_jax.runtime.words import shown

_PLAUSIBLE = 20_000_000  # pixels that a WebP may have, however small the file
_PIXELS_OF_A_BYTE = 100  # photographs have 5 to 50
_HEIF = {b"ftyp" + brand for brand in (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1")}

log = logging.getLogger(__name__)

_T = TypeVar("_T")


def decode(files: Files, targets: Mapping[str, np.ndarray]) -> None:
    """Decodes image files on all cores, with a progress line on a terminal.

    Args:
      files: where they are.
      targets: name of each file -> uint8 [size, size, channels] to fill; channels is 1 or 3.

    Raises:
      DataError: a file is not an image, or damaged; the message names it and the reason.
    """
    log.info("decoding %d images (once)", len(targets))

    def one(name: str, read: Callable[[], bytes]) -> None:
        out = targets[name]
        size, _, channels = out.shape
        out[:] = decode_one(io.BytesIO(read()), size, channels, files.path(name))

    cores = os.cpu_count() or 1
    # Pillow releases Python's lock while it decodes. The first error ends all: the rest is dropped.
    with (
        progress_line("decoding", len(targets)) as line,
        large_allowed(),
        concurrent.futures.ThreadPoolExecutor(cores) as pool,
    ):
        try:
            running: set[concurrent.futures.Future[None]] = set()
            for name, read in files.read(targets):
                running.add(pool.submit(one, name, read))
                if len(running) >= 16 * cores:  # do not read further ahead: memory
                    running = _first_done(running, line)
            while running:
                running = _first_done(running, line)
        finally:
            pool.shutdown(cancel_futures=True)


def progress_line(what: str, count: int) -> tqdm.tqdm:
    """Shows how many images are done, on a terminal only."""
    return tqdm.tqdm(
        None, what, count, unit=" images", disable=not sys.stderr.isatty(), leave=False
    )


def large_allowed() -> warnings.catch_warnings:
    """For use around threads that call `decode_one`: warning filters belong to the process."""
    return warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning)


def _first_done(
    running: set[concurrent.futures.Future[None]], line: tqdm.tqdm
) -> set[concurrent.futures.Future[None]]:
    """Waits until one or more are done, and returns the others."""
    done, rest = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
    for future in done:
        future.result()
        line.update()
    return rest


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
    return _opened(file, name, lambda image: _pixels(_square(image, size), channels))


def decode_whole(file: IO[bytes], name: str) -> Image.Image:
    """One image in RGB and in its own size; orientation, transparency and `name` as above."""
    return _opened(file, name, _rgb)


def _opened(file: IO[bytes], name: str, use: Callable[[Image.Image], _T]) -> _T:
    """What `use` makes of an image, turned upright; errors are in the user's terms."""
    try:
        _check_webp(file)
        with Image.open(file) as image:
            if math.prod(image.size) > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):  # as Pillow does
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            upright = ImageOps.exif_transpose(image)
        return use(upright)
    except Image.DecompressionBombError as error:
        raise DataError(f"{name} is too large an image ({error}); scale it down") from error
    except Exception as error:  # a damaged image fails in any way there is
        raise DataError(
            f"{name} cannot be read as an image ({_reason(file, error)}); repair or remove it"
        ) from error


def _check_webp(file: IO[bytes]) -> None:
    """Refuses a WebP with too many pixels for its bytes: Pillow takes 8 bytes a pixel to open it.

    References:
      developers.google.com/speed/webp/docs/riff_container and RFC 6386, section 9.1.
    """
    start, size = file.read(30), file.seek(0, io.SEEK_END)
    file.seek(0)
    if start[:4] != b"RIFF" or start[8:12] != b"WEBP" or len(start) < 30:
        return
    if start[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(start[i : i + 3], "little") for i in (24, 27))
    elif start[12:16] == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        width, height = 1 + bits % 2**14, 1 + (bits >> 14) % 2**14
    else:
        width, height = (int.from_bytes(start[i : i + 2], "little") % 2**14 for i in (26, 28))
    if width * height > max(_PLAUSIBLE, _PIXELS_OF_A_BYTE * size):
        raise Image.DecompressionBombError(f"{width} x {height} pixels in {size:,} bytes")


def _reason(file: IO[bytes], error: Exception) -> str:
    if file.seek(0, io.SEEK_END) == 0:
        return "it is empty"
    file.seek(4)
    if file.read(8) in _HEIF:
        return "it is HEIC: pip install pillow-heif"
    if isinstance(error, UnidentifiedImageError):  # whose own words name the buffer
        return "it is not in a known image format"
    return shown(str(error) or type(error).__name__)


def pixels_of(image: Image.Image) -> np.ndarray:
    """A Pillow image of any mode, as `decode_one` reads its file: uint8 [height, width, 3].

    Raises:
      ValueError: its pixels are not whole numbers.
    """
    return np.asarray(_rgb(ImageOps.exif_transpose(image)))


def fit(pixels: np.ndarray, size: int, channels: int) -> np.ndarray:
    """Like `decode_one`, for an image that is decoded already.

    Args:
      pixels: uint8 [height, width, 1 or 3].
      size: height and width of the result, in pixels.
      channels: 3 for RGB, 1 for gray.

    Returns:
      uint8 [size, size, channels].
    """
    if pixels.shape == (size, size, channels):
        return pixels
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return _pixels(_square(image, size), channels)


def _pixels(square: Image.Image, channels: int) -> np.ndarray:
    pixels = np.asarray(_rgb(square).convert("RGB" if channels == 3 else "L"))
    return pixels.reshape(*pixels.shape[:2], channels)


def _square(image: Image.Image, size: int) -> Image.Image:
    image = _rgb(image)
    if image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def _rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode as RGB, transparency on white, 16 bits scaled to 8."""
    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise ValueError("its pixels are not whole numbers: save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image, np.float64)
        # "I" is 32 bits of anything: what ends at 255 has 8 of them.
        scale = 1 if image.mode == "I" and values.max(initial=0) <= 255 else 257
        return Image.fromarray(np.clip(values / scale, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
