"""Conversion of HDR and wide-gamut RGB to SDR in BT.709, display-referred. Imported only for frames that need it.

Reference white, 203 cd/m2, becomes SDR white, and brighter colours are scaled down to their largest component, which
keeps their hue. Sources: ITU-R BT.2100-2 (PQ, HLG), BT.2408-7 section 2 (reference white), BT.1886 (SDR display).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float, UInt8, UInt16

REFERENCE_WHITE = 203.0  # cd/m2
HLG_PEAK = 1000.0  # cd/m2 of the nominal display, whose system gamma is 1.2
SDR_GAMMA = 2.4
PQ, HLG = 16, 18  # transfer characteristics of ISO/IEC 23091-2
BT2020, DISPLAY_P3 = 9, 12  # colour primaries of ISO/IEC 23091-2

_LUMA_BT2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)
_TO_BT709 = {
    BT2020: np.array(
        [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]],
        np.float32,
    ),
    DISPLAY_P3: np.array(
        [[1.224940, -0.224940, 0.0], [-0.042057, 1.042057, 0.0], [-0.019638, -0.078636, 1.098274]], np.float32
    ),
}
_BAND = 2**17  # pixels per step, which bounds the memory of intermediate results


def to_sdr(rgb: UInt16[np.ndarray, "h w 3"], transfer: int, primaries: int, white: int) -> UInt8[np.ndarray, "h w 3"]:
    """SDR picture of full-range RGB in which `white` is 1; transfers other than PQ and HLG count as SDR."""
    height, width = rgb.shape[:2]
    picture, rows = np.empty(rgb.shape, np.uint8), max(1, _BAND // width)
    for top in range(0, height, rows):
        picture[top : top + rows] = _band_to_sdr(rgb[top : top + rows], transfer, primaries, white)
    return picture


def _band_to_sdr(
    rgb: UInt16[np.ndarray, "rows w 3"], transfer: int, primaries: int, white: int
) -> UInt8[np.ndarray, "rows w 3"]:
    light = _linear(transfer, white)[rgb]  # 1 is reference white
    if transfer == HLG:
        light *= (light @ _LUMA_BT2020)[..., None] ** np.float32(0.2) * np.float32(HLG_PEAK / REFERENCE_WHITE)
    if primaries in _TO_BT709:
        light = light @ _TO_BT709[primaries].T
    light = np.maximum(light, 0)
    light /= np.maximum(light.max(axis=-1, keepdims=True), 1)
    return _encoded()[(np.sqrt(light) * np.float32(65535) + np.float32(0.5)).astype(np.uint16)]


@cache
def _linear(transfer: int, white: int) -> Float[np.ndarray, " 65536"]:
    """Light of each 16-bit code: relative to reference white or, for HLG, scene light in [0, 1]."""
    code = np.minimum(np.arange(65536) / white, 1)
    if transfer == PQ:
        root = code ** (32 / 2523)  # 1 / m2
        nits = 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (16384 / 2610)  # 1 / m1
        return (nits / REFERENCE_WHITE).astype(np.float32)
    if transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)
    return (code**SDR_GAMMA).astype(np.float32)


@cache
def _encoded() -> UInt8[np.ndarray, " 65536"]:
    """8-bit SDR code of each 16-bit square root of light."""
    return np.round(255 * (np.arange(65536) / 65535) ** (2 / SDR_GAMMA)).astype(np.uint8)
