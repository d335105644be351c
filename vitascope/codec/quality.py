"""Quality of a reconstructed video: PSNR and SSIM of its uint8 frames."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8

from vitascope.errors import SizeError

FramePixels = UInt8[np.ndarray, "t h w 3"]


def psnr(a: FramePixels, b: FramePixels) -> float:
    """Peak signal-to-noise ratio in dB over all pixels of a clip; infinite for equal clips."""
    error = np.square(a.astype(np.float64) - b.astype(np.float64)).mean()
    return math.inf if error == 0 else 10 * math.log10(255.0**2 / error)


def frame_psnr(a: FramePixels, b: FramePixels) -> list[float]:
    """PSNR in dB of each frame."""
    return [psnr(a[k : k + 1], b[k : k + 1]) for k in range(len(a))]


def ssim(a: FramePixels, b: FramePixels) -> float:
    """Mean structural similarity of the luma (BT.601), in [-1, 1], with a Gaussian window of 11 pixels.

    Raises:
        SizeError: frames smaller than the window.
    Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", section III.
    """
    if min(a.shape[1:3]) < 11:
        raise SizeError(f"frames are {a.shape[2]}x{a.shape[1]}; SSIM needs at least 11x11 pixels")
    x, y = (torch.from_numpy(clip.astype(np.float64) @ LUMA_BT601)[:, None] for clip in (a, b))
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x, variance_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return float(similarity.mean())


LUMA_BT601 = np.array([0.299, 0.587, 0.114])  # of red, green, blue: ITU-R BT.601, as in SSIM's reference code


def _blur(x: torch.Tensor) -> torch.Tensor:
    offsets = torch.arange(-5, 6, dtype=x.dtype, device=x.device)
    window = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    return F.conv2d(F.conv2d(x, window.view(1, 1, 11, 1)), window.view(1, 1, 1, 11))
