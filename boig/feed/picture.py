"""Decode pictures that nobody vouches for: limits are checked on the header, before a single pixel is decoded."""

import io
import warnings
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from PIL import Image, ImageOps
from scipy.fft import dctn

from boig.feed.rules import PictureLimits

_FORMATS = ("JPEG", "PNG", "WEBP")
_HASH_SIDE, _HASH_BITS_SIDE = 32, 8
THUMBNAIL_SIDE = 16


@dataclass(frozen=True)
class Picture:
    """A picture as it is stored, with what near-duplicates are found by."""

    picture_id: str
    """First 16 hex digits of the SHA-256 of `png`."""
    png: bytes
    width: int
    """px"""
    height: int
    """px"""
    phash: int
    """64 bits."""
    thumbnail: bytes
    """16 × 16 × 3 levels, row by row."""


class Unusable(Exception):
    """A picture that cannot be used; `reason` is one of `boig.feed.REASONS`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail[:200]


def decode(data: bytes, limits: PictureLimits) -> Picture:
    """Decode a JPEG, PNG or WebP (its first frame), reduce it to the stored size and encode it again, losslessly.

    Raises:
        Unusable: too many bytes or pixels, too small, no such format, or cut short.
    """
    if len(data) > limits.max_bytes:
        raise Unusable("picture_too_large", f"{len(data)} bytes, at most {limits.max_bytes} are allowed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(data), formats=_FORMATS)
        _check_size(opened.size, limits)
        picture = _reduced(opened, limits.store_px)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unusable("picture_too_large", str(error)) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # PIL reports damaged files by all of these
        raise Unusable("unreadable_picture", f"{type(error).__name__}: {error}") from error
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=6)
    png = buffer.getvalue()
    return Picture(sha256(png).hexdigest()[:16], png, picture.width, picture.height, perceptual_hash(picture), thumbnail(picture))


def _check_size(size: tuple[int, int], limits: PictureLimits) -> None:
    width, height = size
    if width * height > limits.max_megapixels * 1e6:
        raise Unusable("picture_too_large", f"{width} × {height} px, at most {limits.max_megapixels:g} megapixels are allowed")
    if min(width, height) < limits.min_side_px:
        raise Unusable("picture_too_small", f"{width} × {height} px, at least {limits.min_side_px} px a side are needed")


def _reduced(opened: Image.Image, store_px: int) -> Image.Image:
    """RGB, upright, the longer side at most `store_px`; transparent parts become white."""
    if opened.format == "JPEG":
        opened.draft("RGB", (2 * store_px, 2 * store_px))  # decode at a fraction of the size where that is enough
    upright = ImageOps.exif_transpose(opened)
    if "A" in upright.getbands() or "transparency" in upright.info:
        ground = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(ground, upright.convert("RGBA"))
    picture = upright.convert("RGB")
    scale = store_px / max(picture.size)
    if scale < 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return picture


def thumbnail(picture: Image.Image) -> bytes:
    """An RGB picture as 16 × 16 × 3 levels, row by row."""
    return picture.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX).tobytes()


def perceptual_hash(picture: Image.Image) -> int:
    """64 bits: signs of the 8 × 8 lowest cosine frequencies of the 32 × 32 gray picture, against their median ("pHash")."""
    gray = np.asarray(picture.convert("L").resize((_HASH_SIDE, _HASH_SIDE), Image.Resampling.BILINEAR), dtype=np.float64)
    low = dctn(gray, norm="ortho")[:_HASH_BITS_SIDE, :_HASH_BITS_SIDE].ravel().round(3)  # rounded: no bit may hang on float noise
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
