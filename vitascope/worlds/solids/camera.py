"""Camera paths of shots, and projection between world and picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vitascope.worlds.solids.scene import Shot

FIELD_OF_VIEW = math.radians(36)  # vertical


@dataclass(frozen=True)
class View:
    """Camera position and the point it looks at, in metres."""

    eye: tuple[float, float, float]
    target: tuple[float, float, float]


def view(shot: Shot, seconds: float, aspect: float, subject: tuple[float, float]) -> View:
    """Camera at a time of a shot. Moves ease towards a limit, so that long clips keep the actors in the picture.

    `aspect` is width / height; `subject` is the first actor's present x and its height, in metres.
    """
    distance = shot.view_width / (2 * math.tan(FIELD_OF_VIEW / 2)) * max(1.0, 0.92 / aspect)
    progress = math.tanh(0.55 * shot.camera_speed * seconds)
    x, z, angle, height, factor = 0.0, 0.72, 0.0, shot.camera_height, 1.0
    track = 0.0  # x of the camera
    match shot.camera:
        case "pan_left":
            x = 0.4 - 0.8 * progress
        case "pan_right":
            x = -0.4 + 0.8 * progress
        case "tilt_up":
            z = 0.35 + 0.75 * progress
        case "tilt_down":
            z = 1.15 - 0.75 * progress
        case "zoom_in":
            factor = 1.25 - 0.45 * progress
        case "zoom_out":
            factor = 0.85 + 0.5 * progress
        case "orbit":
            angle = -0.6 + 1.2 * progress
        case "rise":
            height = 0.5 + 2.2 * progress
        case "follow":
            x = track = subject[0]
            factor = 0.85
        case "close":
            x = track = subject[0]
            z, factor, height = 0.72 * subject[1], 0.5, 0.85 * subject[1]
    eye = (track + distance * factor * math.sin(angle), -distance * factor * math.cos(angle), height)
    return View(eye, (x, 0.0, z))


def project(point: tuple[float, float, float], look: View, height: int, width: int) -> tuple[float, float, float]:
    """(row, column) of a point in pixels, and its depth in metres, which is negative behind the camera."""
    forward, up, right = camera_axes(look)
    offset = np.array(point) - np.array(look.eye)
    depth = float(offset @ forward)
    scale = height / (2 * math.tan(FIELD_OF_VIEW / 2)) / max(abs(depth), 1e-6)
    return height / 2 - float(offset @ up) * scale, width / 2 + float(offset @ right) * scale, depth


def unproject(pixels: Float[np.ndarray, "n 2"], look: View, height: int, width: int) -> Float[np.ndarray, "n 2"]:
    """(x, z) in metres of (row, column) pixels, for points whose y equals that of the camera's target.

    Inverse of `project` for such points.
    """
    forward, up, right = camera_axes(look)
    scale = height / (2 * math.tan(FIELD_OF_VIEW / 2))
    rays = (
        forward
        + np.outer((width / 2 - pixels[:, 1]) / -scale, right)
        + np.outer((height / 2 - pixels[:, 0]) / scale, up)
    )
    eye = np.array(look.eye)
    reach = (look.target[1] - eye[1]) / rays[:, 1]
    return (eye + reach[:, None] * rays)[:, [0, 2]]


def camera_axes(look: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors of a view: forward, up and right."""
    forward = np.array(look.target) - np.array(look.eye)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    return forward, np.cross(right, forward), right
