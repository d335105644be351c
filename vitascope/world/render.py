"""Drawing a scene with MuJoCo: solids are laid out frame by frame, so one context serves all scenes.

Draw from one thread of a process, since an OpenGL context belongs to the thread that made it.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from vitascope.errors import RenderError, SizeError
from vitascope.video import Video
from vitascope.world.cast import PALETTE, RGB, Part, Shape, body_centre, build
from vitascope.world.places import SETTINGS, Setting, ground_texture
from vitascope.world.scene import FIELD_OF_VIEW, Actor, Pose, Scene, View, pose, view
from vitascope.world.words import Place

SUPERSAMPLING = 2  # each side; averaged down, so edges are smooth without multisampling
MAX_SIDE = 16384 // SUPERSAMPLING  # beyond what a driver draws, the picture stays black without an error
TILE_METRES = 6.0  # one repeat of the ground's pattern
NEAR, FAR = 0.05, 80.0

Matrix = Float[np.ndarray, "3 3"]


class Frame(NamedTuple):
    """One picture, and where everything in it is: metres, radians, and places in the picture in pixels."""

    pixels: UInt8[np.ndarray, "h w 3"]
    truth: dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """A clip, and its rate with each frame's truth."""

    video: Video
    truth: dict[str, Any]


def render_scene(scene: Scene, *, num_frames: int, fps: float, height: int, width: int, start: float = 0.0) -> Rendered:
    """A scene's clip from `start` seconds on, and its truth.

    Raises:
        RenderError, SizeError: as `render_frames`.
    """
    frames = list(render_frames(scene, num_frames=num_frames, fps=fps, height=height, width=width, start=start))
    pixels = np.stack([frame.pixels for frame in frames])
    return Rendered(Video(pixels, fps), {"fps": fps, "frames": [frame.truth for frame in frames]})


def render_frames(
    scene: Scene, *, num_frames: int, fps: float, height: int, width: int, start: float = 0.0
) -> Iterator[Frame]:
    """The frames of a scene from `start` seconds on, one at a time, so that memory doesn't grow with the clip.

    Raises:
        RenderError: MuJoCo, EGL or OSMesa is missing.
        SizeError: a side above 8192 pixels, or below 1.
    """
    if not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise SizeError(f"can't draw {width}x{height} pixels: each side must be 1 to {MAX_SIDE}")
    stage = _stage(scene.place)
    for index in range(num_frames):
        seconds = start + index / fps
        poses = [pose(actor, seconds) for actor in scene.actors]
        look = view(scene, seconds, width / height)
        pixels = stage.draw(scene, poses, look, height * SUPERSAMPLING, width * SUPERSAMPLING)
        yield Frame(_average(pixels, height, width), _frame_truth(scene, poses, look, height, width))


def _average(pixels: UInt8[np.ndarray, "h2 w2 3"], height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    blocks = pixels.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, 3)
    return (blocks.mean(axis=(1, 3)) + 0.5).astype(np.uint8)


def _frame_truth(scene: Scene, poses: list[Pose], look: View, height: int, width: int) -> dict[str, Any]:
    actors = []
    for actor, at in zip(scene.actors, poses, strict=True):
        row, column, depth = project((at.x, at.y, at.z + 0.5 * actor.height), look, height, width)
        seen = depth > 0 and 0 <= row < height and 0 <= column < width
        position = [round(value, 4) for value in (at.x, at.y, at.z)]
        turns = {name: round(getattr(at, name), 4) for name in ("yaw", "lean", "rolled")}
        actors.append({"position": position, **turns, "pixel": [round(row, 2), round(column, 2)], "visible": seen})
    return {
        "actors": actors,
        "camera": {"eye": [round(v, 4) for v in look.eye], "target": [round(v, 4) for v in look.target]},
    }


def project(point: tuple[float, float, float], look: View, height: int, width: int) -> tuple[float, float, float]:
    """(row, column) in pixels of a point in metres, and its depth in metres (negative behind the camera)."""
    forward, up, right = _camera_axes(look)
    offset = np.array(point) - np.array(look.eye)
    depth = float(offset @ forward)
    scale = height / (2 * math.tan(FIELD_OF_VIEW / 2)) / max(abs(depth), 1e-6)
    return height / 2 - float(offset @ up) * scale, width / 2 + float(offset @ right) * scale, depth


def _camera_axes(look: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    forward = np.array(look.target) - np.array(look.eye)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    return forward, np.cross(right, forward), right


class _Stage:
    """A setting's textures on the graphics device, and a picture buffer that takes the size of each frame."""

    def __init__(self, setting: Setting):
        mujoco, self.gl = _graphics()
        self.mujoco, self.setting = mujoco, setting
        self.gl.make_current()
        self.model = mujoco.MjModel.from_xml_string(_xml(setting))
        texture = self.model.texture("ground")
        data = ground_texture(setting).reshape(-1)
        start = int(self.model.tex_adr[texture.id])
        self.model.tex_data[start : start + data.size] = data
        self.context = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_50)
        self.context.shadowClip = 3.0
        self.scene = mujoco.MjvScene(self.model, maxgeom=300)
        self.ground = self.model.material("ground").id
        self.cone = self.model.mesh("cone").id
        vertices = self.model.mesh_vert  # the compiler moves a mesh's origin to its centre of mass
        self.cone_middle = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
        self.solids: dict[Shape, Any] = {
            "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
            "box": mujoco.mjtGeom.mjGEOM_BOX,
            "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
            "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
            "ellipsoid": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
            "cone": mujoco.mjtGeom.mjGEOM_MESH,
        }

    def draw(self, scene: Scene, poses: list[Pose], look: View, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
        """One frame, top row first."""
        self.gl.make_current()  # someone else in this process may draw with OpenGL too
        self.mujoco.mjr_resizeOffscreen(width, height, self.context)
        self._lay_out(scene, poses)
        self._set_lights(scene)
        self._set_camera(look, width / height)
        rectangle = self.mujoco.MjrRect(0, 0, width, height)
        pixels = np.empty((height, width, 3), np.uint8)
        self.mujoco.mjr_setBuffer(self.mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.context)
        self.mujoco.mjr_render(rectangle, self.scene, self.context)
        self.mujoco.mjr_readPixels(pixels, None, rectangle, self.context)
        return pixels[::-1]

    def _lay_out(self, scene: Scene, poses: list[Pose]) -> None:
        """Put ground, props and actors among the solids to draw."""
        self.scene.ngeom = 0
        plane = self.mujoco.mjtGeom.mjGEOM_PLANE
        ground = self._add(plane, np.array([60, 60, 0.1]), np.zeros(3), np.eye(3), scene.ground_shade)
        ground.matid = self.ground
        ground.castshadow = 0
        for prop in self.setting.props:
            self._add_part(prop, np.zeros(3), np.eye(3), scale=1.0, casts_shadow=False)
        for actor, at in zip(scene.actors, poses, strict=True):
            self._add_actor(actor, at)

    def _add_actor(self, actor: Actor, at: Pose) -> None:
        red, green, blue = (min(1.0, c * s) for c, s in zip(PALETTE[actor.colour], actor.shade, strict=True))
        rotation = _about_y(at.lean) @ _about_z(at.yaw) @ _about_x(at.rolled)
        pivot = body_centre(actor.kind) * actor.height
        foot = np.array([at.x, at.y, at.z + pivot]) - rotation @ (0, 0, pivot)
        for part in build(actor.kind, (red, green, blue)):
            self._add_part(part, foot, rotation, scale=actor.height, casts_shadow=True)

    def _add_part(self, part: Part, origin: np.ndarray, rotation: Matrix, *, scale: float, casts_shadow: bool) -> None:
        own = _about_x(part.tilt[0]) @ _about_y(part.tilt[1])
        centre = origin + rotation @ (np.array(part.at) * scale)
        size, shape = np.array(part.size) * scale, rotation @ own
        if part.shape == "cone":  # a mesh of half-size 1, stretched by its matrix
            shape = shape @ np.diag(size)
            centre, size = centre - shape @ self.cone_middle, np.ones(3)
        geom = self._add(self.solids[part.shape], size, centre, shape, part.colour)
        if part.shape == "cone":
            geom.dataid = 2 * self.cone
        geom.emission = part.glow
        geom.castshadow = int(casts_shadow)

    def _add(self, kind: Any, size: np.ndarray, centre: np.ndarray, rotation: Matrix, colour: RGB) -> Any:
        geom = self.scene.geoms[self.scene.ngeom]
        rgba = np.array([*colour, 1.0], np.float32)
        self.mujoco.mjv_initGeom(geom, kind, size, centre, rotation.reshape(-1), rgba)
        geom.specular, geom.shininess = 0.15, 0.3
        self.scene.ngeom += 1
        return geom

    def _set_lights(self, scene: Scene) -> None:
        self.scene.nlight = 2
        sky, sun = self.scene.lights[0], self.scene.lights[1]
        azimuth, elevation = scene.light
        towards = np.array(
            [math.sin(azimuth) * math.cos(elevation), math.cos(azimuth) * math.cos(elevation), -math.sin(elevation)]
        )
        for light, direction in ((sky, (0.0, 0.5, -0.6)), (sun, towards)):
            light.type = int(self.mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)
            light.pos[:] = -6 * np.array(direction)
            light.dir[:] = direction
            light.attenuation[:] = (1, 0, 0)
            light.specular[:] = 0.0
        sky.headlight, sky.castshadow, sun.headlight, sun.castshadow = 0, 0, 0, 1
        sky.ambient[:], sky.diffuse[:] = self.setting.ambient, 0.18
        sun.ambient[:], sun.diffuse[:], sun.specular[:] = 0.0, self.setting.sun, 0.15
        flags = self.mujoco.mjtRndFlag
        self.scene.flags[flags.mjRND_SHADOW] = 1
        self.scene.flags[flags.mjRND_SKYBOX] = 1
        self.scene.flags[flags.mjRND_REFLECTION] = 0

    def _set_camera(self, look: View, aspect: float) -> None:
        forward, up, _ = _camera_axes(look)
        for camera in (self.scene.camera[0], self.scene.camera[1]):
            camera.pos[:], camera.forward[:], camera.up[:] = look.eye, forward, up
            camera.frustum_near, camera.frustum_far = NEAR, FAR
            top = NEAR * math.tan(FIELD_OF_VIEW / 2)
            camera.frustum_top, camera.frustum_bottom = top, -top
            camera.frustum_center, camera.frustum_width = 0.0, top * aspect
        self.scene.enabletransform = 0
        self.scene.scale = 1.0


def check_renderer() -> None:
    """Find out whether this machine can render, before anything is written.

    Raises:
        RenderError: MuJoCo, EGL or OSMesa is missing.
    """
    _graphics()


@cache
def _stage(place: Place) -> _Stage:
    return _Stage(SETTINGS[place])


class _Graphics(NamedTuple):
    mujoco: Any
    context: Any


@cache
def _graphics() -> _Graphics:
    """The mujoco module and an OpenGL context made current, once per process; pictures go to buffers of their own."""
    if sys.platform.startswith("linux"):
        os.environ.setdefault("MUJOCO_GL", "egl")
        # Mesa's software driver draws within this thread: a dataset is drawn by a process for every core
        os.environ.setdefault("LP_NUM_THREADS", "0")
    try:
        import mujoco

        context = mujoco.GLContext(64, 64)
        context.make_current()
    except Exception as error:  # each backend fails in its own way: ImportError, AttributeError, GL errors
        reason = " ".join(str(error).split())[:120]
        raise RenderError(
            f"can't render ({type(error).__name__}: {reason}): install the extra [world] and libegl1 libegl-mesa0 "
            "libgl1-mesa-dri (Debian), or set MUJOCO_GL=osmesa with libosmesa6"
        ) from None
    return _Graphics(mujoco, context)


def _xml(setting: Setting) -> str:
    """A model that carries what the renderer needs on the device: sky, ground pattern and the cone's mesh."""
    horizon, zenith = (" ".join(f"{c:.3f}" for c in colour) for colour in (setting.horizon, setting.zenith))
    repeat = 1 / TILE_METRES
    return f"""
    <mujoco>
      <visual>
        <quality offsamples="0" shadowsize="1024" numslices="24" numstacks="16"/>
        <map znear="0.01" zfar="80" shadowclip="3"/>
      </visual>
      <statistic extent="1" center="0 0 0"/>
      <asset>
        <texture name="sky" type="skybox" builtin="gradient" width="64" height="384" rgb1="{zenith}" rgb2="{horizon}"/>
        <texture name="ground" type="2d" builtin="flat" width="64" height="64" rgb1="1 1 1"/>
        <material name="ground" texture="ground" texrepeat="{repeat} {repeat}" texuniform="true" specular="0"/>
        <mesh name="cone" builtin="cone" params="24 0"/>
      </asset>
      <worldbody>
        <geom type="plane" size="60 60 0.1" material="ground"/>
        <geom type="mesh" mesh="cone"/>
      </worldbody>
    </mujoco>"""


def _about_x(angle: float) -> Matrix:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _about_y(angle: float) -> Matrix:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _about_z(angle: float) -> Matrix:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
