"""Picture files of drafts: rendered, edited, encoded, damaged. Runs in render shards; every byte follows from the draft alone."""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image
from pydantic import ConfigDict

from boig.simulator.dirt import Draft
from boig.simulator.facts import PictureFacts, measure
from boig.simulator.render import render

_ABSURD_SIDE = 60_000  # 3.6 gigapixels: a decompression bomb


@dataclass(frozen=True)
class Painted:
    """What a draft looks like on disk, and what its pixels are."""

    __pydantic_config__ = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    files: tuple[tuple[str, bytes, int], ...]
    """Name, bytes and side in px of each picture file; a file without bytes is missing from the disk."""
    facts: PictureFacts


class Painter:
    """Callable for render shards."""

    def __init__(self, picture_px: int) -> None:
        self.picture_px = picture_px

    def __call__(self, rows: list[dict]) -> list[dict]:
        """`draft` in, `painted` out."""
        return [{"painted": self.paint(row["draft"])} for row in rows]

    def paint(self, draft: Draft) -> Painted:
        """Render, edit, encode and damage one picture."""
        scene = draft.post.scene
        number = int(draft.post.post_id)
        pixels = render(scene, self.picture_px)  # (px, px, 3)
        picture, pixels = _edited(pixels, draft.edit, number)
        products = tuple((p.kind, p.box) for p in scene.products)
        (facts,) = measure(pixels[None], [products], [bool(scene.slogan)])
        quality = 60 if draft.edit == "encode" else 88 + number % 8
        name, side = f"{draft.post.post_id}_1.{draft.extension}", picture.width
        files = [(name, _damaged(_encode(picture, draft.extension, quality), draft, number), side)]
        if draft.dirt == "preview":
            half = picture.resize((side * 3 // 4, side * 3 // 4), Image.Resampling.LANCZOS)
            files.insert(0, (f"{draft.post.post_id}_2.jpg", _encode(half, "jpg", 75), half.width))
        return Painted(tuple(files), facts)


def _edited(pixels: np.ndarray, edit: str, number: int) -> tuple[Image.Image, np.ndarray]:
    """The picture to store, and its pixels at the rendered size."""
    picture, side = Image.fromarray(pixels), pixels.shape[0]
    if edit == "enlarge":
        return picture.resize((side * 3 // 2, side * 3 // 2), Image.Resampling.LANCZOS), pixels
    if edit == "crop":
        left, top = number % 2, number // 2 % 2
        picture = picture.resize((side, side), Image.Resampling.BICUBIC, box=(left, top, side - 1 + left, side - 1 + top))
        return picture, np.asarray(picture)
    return picture, pixels


def _encode(picture: Image.Image, extension: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    if extension == "png":
        picture.save(buffer, "PNG")
    else:
        picture.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _damaged(data: bytes, draft: Draft, number: int) -> bytes:
    if draft.dirt == "missing_media":
        return b""
    if draft.dirt == "truncated_picture":
        return data[: len(data) // 2]
    if draft.dirt == "absurd_size":
        return _bomb() if number % 2 else _encode(Image.new("RGB", (1, 1)), "png", 0)
    return data


def _bomb() -> bytes:
    """A small PNG whose header claims 60,000 × 60,000 px."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", _ABSURD_SIDE, _ABSURD_SIDE, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
