"""Ground truth per pixel of rendered frames: owners, depth, and optical flow from the motion of visible surfaces."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from einops import rearrange
from jaxtyping import Float, Float32, Int

from vitascope.worlds.frame import Maps, TruthMap
from vitascope.worlds.solids.camera import FIELD_OF_VIEW, View, camera_axes
from vitascope.worlds.solids.stage import FAR, SUPERSAMPLING, Solid, Stage


class Samples(NamedTuple):
    """One sample of each pixel: its solid (-1: sky), owner (-1: none), depth in metres, and (row, column) in pixels."""

    solids: Int[np.ndarray, "h w"]
    owners: Int[np.ndarray, "h w"]
    depth: Float32[np.ndarray, "h w"]
    places: Float[np.ndarray, "h w 2"]


def draw_maps(
    stage: Stage,
    names: Collection[TruthMap],
    height: int,
    width: int,
    now: View,
    later: tuple[View, Sequence[Solid]] | None = None,
) -> Maps:
    """The requested maps of the arranged frame.

    `later` holds the view and the solids of the next frame, in the order of the arranged ones; flow needs it.
    """
    seen = choose_samples(stage, height, width)
    flow = None
    if "flow" in names:
        assert later is not None
        view, solids = later
        first = len(stage.solids) - len(solids)  # ground and props, which never move
        flow = surface_flow(seen, stage.solids, [*stage.solids[:first], *solids], now, view)
    return Maps(
        masks=(seen.owners + 1).astype(np.uint8) if "masks" in names else None,
        depth=seen.depth if "depth" in names else None,
        flow=flow,
    )


def choose_samples(stage: Stage, height: int, width: int) -> Samples:
    """The sample of each pixel that represents it: the nearest one of the owner of most samples.

    Pictures average the same samples. Owners with equally many samples are decided by the nearest sample.
    """
    surfaces = stage.surfaces(height * SUPERSAMPLING, width * SUPERSAMPLING)
    blocks = "(h y) (w x) -> h w (y x)"
    solids, depth = (rearrange(each, blocks, y=SUPERSAMPLING, x=SUPERSAMPLING) for each in surfaces)
    owners = stage.owners_of(solids)
    votes = (owners[..., :, None] == owners[..., None, :]).sum(axis=-1)
    chosen = (votes - np.minimum(depth, FAR) / (2 * FAR)).argmax(axis=-1)[..., None]
    offsets = (np.stack(np.divmod(chosen[..., 0], SUPERSAMPLING), axis=-1) + 0.5) / SUPERSAMPLING
    places = rearrange(np.mgrid[:height, :width], "coordinate h w -> h w coordinate") + offsets
    solids, owners, depth = (np.take_along_axis(each, chosen, axis=-1)[..., 0] for each in (solids, owners, depth))
    return Samples(solids, owners, depth, places)


def surface_flow(
    seen: Samples, solids: Sequence[Solid | None], moved: Sequence[Solid | None], now: View, later: View
) -> Float32[np.ndarray, "h w 2"]:
    """Motion (right, down) in pixels of the surface point at each sample, from its solid's and the camera's motion.

    The sky is infinitely far away: only rotations of the camera move it.
    """
    height, width = seen.solids.shape
    focal = height / (2 * math.tan(FIELD_OF_VIEW / 2))
    forward, up, right = camera_axes(now)
    rows, columns = seen.places[..., 0], seen.places[..., 1]
    rays = forward + ((columns - width / 2) / focal)[..., None] * right + ((height / 2 - rows) / focal)[..., None] * up
    is_sky = seen.solids < 0
    points = np.array(now.eye) + np.where(is_sky, 1.0, seen.depth)[..., None] * rays
    turns, shifts = _motions(solids, moved)
    points = np.einsum("h w i j, h w j -> h w i", turns[seen.solids], points) + shifts[seen.solids]
    offsets = np.where(is_sky[..., None], rays, points - np.array(later.eye))
    forward, up, right = camera_axes(later)
    depth = np.maximum(offsets @ forward, 1e-6)
    to_column, to_row = width / 2 + focal * (offsets @ right) / depth, height / 2 - focal * (offsets @ up) / depth
    return np.stack([to_column - columns, to_row - rows], axis=-1).astype(np.float32)


def _motions(
    solids: Sequence[Solid | None], moved: Sequence[Solid | None]
) -> tuple[Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 3"]]:
    """Rotation and shift that move the points of each solid to the next frame; the last entry is the sky's."""
    turns, shifts = np.tile(np.eye(3), (len(solids) + 1, 1, 1)), np.zeros((len(solids) + 1, 3))
    for index, (solid, after) in enumerate(zip(solids, moved, strict=True)):
        if solid is not None and after is not None and solid is not after:
            turns[index] = after.rotation @ solid.rotation.T
            shifts[index] = after.centre - turns[index] @ solid.centre
    return turns, shifts
