"""Files of one frame, in formats that Vitascope reads but doesn't write."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

# name, container, codec, pixel format, frames per second
STILLS = [
    ("a.bmp", "image2", "bmp", "bgr24", 1),
    ("a.tif", "image2", "tiff", "rgb24", 1),
    ("a.ppm", "image2", "ppm", "rgb24", 1),
    ("a.gif", "gif", "gif", "rgb8", 1),
    ("b.gif", "gif", "gif", "rgb8", 25),
    ("a.apng", "apng", "apng", "rgb24", 1),
    ("animated.webp", "webp", "libwebp_anim", "yuv420p", 5),
    ("a.JPEG", "image2", "mjpeg", "yuvj420p", 1),
    ("photo.jfif", "image2", "mjpeg", "yuvj420p", 1),
    ("png.jpg", "image2", "png", "rgb24", 1),
    ("no_suffix", "image2", "png", "rgb24", 1),
    ("one.mp4", "mp4", "libx264", "yuv420p", 1),
    ("one.webm", "webm", "libvpx-vp9", "yuv420p", 8),
]


def write_frames(path: Path, container: str, codec: str, pixels: str, fps: int, num_frames: int = 1) -> Path:
    """A grey file of `num_frames` frames of 32x32."""
    with av.open(
        f"file:{path}", "w", format=container, options={"update": "1"} if container == "image2" else {}
    ) as out:
        stream = out.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = 32, 32, pixels
        for number in range(num_frames):
            rgb = np.full((32, 32, 3), 60 + 60 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path
