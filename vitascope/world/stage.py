"""Drawing solids with MuJoCo: they are laid out frame by frame, so one context serves all scenes of a setting.

Draw from one thread of a process, since an OpenGL context belongs to the thread that made it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from vitascope.errors import RenderError
from vitascope.world.cast import RGB, Part, Shape
from vitascope.world.engine import mujoco
from vitascope.world.places import SETTINGS, Setting, ground_texture
from vitascope.world.scene import FIELD_OF_VIEW, View
from vitascope.world.words import Place

SUPERSAMPLING = 2  # each side; averaged down, so edges are smooth without multisampling
MAX_SIDE = 16384 // SUPERSAMPLING  # beyond what a driver draws, the picture stays black without an error
TILE_METRES = 6.0  # one repeat of the ground's pattern
NEAR, FAR = 0.05, 80.0

Matrix = Float[np.ndarray, "3 3"]
Point = Float[np.ndarray, " 3"]


@dataclass(frozen=True)
class Solid:
    """One primitive where it is drawn: half-sizes and centre in metres, its rotation, its colour in 0..1."""

    shape: Shape
    size: Point
    centre: Point
    rotation: Matrix
    colour: RGB
    glow: float = 0.0  # light of its own
    casts_shadow: bool = True


class Lighting(NamedTuple):
    """What one clip's light and ground add to their setting's."""

    ground_shade: RGB  # multiplies the ground's colour
    azimuth: float  # of the sun, radians
    elevation: float


def solid(part: Part, origin: Point, rotation: Matrix, *, scale: float = 1.0, casts_shadow: bool = True) -> Solid:
    """A part of something whose foot is at `origin`, turned and scaled with it."""
    own = about_x(part.tilt[0]) @ about_y(part.tilt[1])
    size, centre = np.array(part.size) * scale, origin + rotation @ (np.array(part.at) * scale)
    return Solid(part.shape, size, centre, rotation @ own, part.colour, part.glow, casts_shadow)


class Stage:
    """A setting's textures on the graphics device, and a picture buffer that takes the size of each frame."""

    def __init__(self, setting: Setting):
        engine, self.gl = _graphics()
        self.mujoco, self.setting = engine, setting
        self.gl.make_current()
        self.model = engine.MjModel.from_xml_string(_xml(setting))
        texture = self.model.texture("ground")
        data = ground_texture(setting).reshape(-1)
        start = int(self.model.tex_adr[texture.id])
        self.model.tex_data[start : start + data.size] = data
        self.context = engine.MjrContext(self.model, engine.mjtFontScale.mjFONTSCALE_50)
        self.context.shadowClip = 3.0
        self.scene = engine.MjvScene(self.model, maxgeom=300)
        self.ground = self.model.material("ground").id
        self.cone = self.model.mesh("cone").id
        vertices = self.model.mesh_vert  # the compiler moves a mesh's origin to its centre of mass
        self.cone_middle = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
        self.kinds: dict[Shape, Any] = {
            "sphere": engine.mjtGeom.mjGEOM_SPHERE,
            "box": engine.mjtGeom.mjGEOM_BOX,
            "cylinder": engine.mjtGeom.mjGEOM_CYLINDER,
            "capsule": engine.mjtGeom.mjGEOM_CAPSULE,
            "ellipsoid": engine.mjtGeom.mjGEOM_ELLIPSOID,
            "cone": engine.mjtGeom.mjGEOM_MESH,
        }

    def draw(
        self, solids: Iterable[Solid], lighting: Lighting, look: View, height: int, width: int
    ) -> UInt8[np.ndarray, "h w 3"]:
        """One frame, top row first: the setting, with these solids in it."""
        pixels = self._draw(solids, lighting, look, height * SUPERSAMPLING, width * SUPERSAMPLING)
        blocks = pixels.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, 3)
        return (blocks.mean(axis=(1, 3)) + 0.5).astype(np.uint8)

    def _draw(
        self, solids: Iterable[Solid], lighting: Lighting, look: View, height: int, width: int
    ) -> UInt8[np.ndarray, "h w 3"]:
        self.gl.make_current()  # someone else in this process may draw with OpenGL too
        self.mujoco.mjr_resizeOffscreen(width, height, self.context)
        self._lay_out(solids, lighting)
        self._set_lights(lighting)
        self._set_camera(look, width / height)
        rectangle = self.mujoco.MjrRect(0, 0, width, height)
        pixels = np.empty((height, width, 3), np.uint8)
        self.mujoco.mjr_setBuffer(self.mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.context)
        self.mujoco.mjr_render(rectangle, self.scene, self.context)
        self.mujoco.mjr_readPixels(pixels, None, rectangle, self.context)
        return pixels[::-1]

    def _lay_out(self, solids: Iterable[Solid], lighting: Lighting) -> None:
        self.scene.ngeom = 0
        plane = self.mujoco.mjtGeom.mjGEOM_PLANE
        ground = self._add(plane, np.array([60, 60, 0.1]), np.zeros(3), np.eye(3), lighting.ground_shade)
        ground.matid = self.ground
        ground.castshadow = 0
        for prop in self.setting.props:
            self._add_solid(solid(prop, np.zeros(3), np.eye(3), casts_shadow=False))
        for each in solids:
            self._add_solid(each)

    def _add_solid(self, solid: Solid) -> None:
        size, centre, rotation = solid.size, solid.centre, solid.rotation
        if solid.shape == "cone":  # a mesh of half-size 1, stretched by its matrix
            rotation = rotation @ np.diag(size)
            centre, size = centre - rotation @ self.cone_middle, np.ones(3)
        geom = self._add(self.kinds[solid.shape], size, centre, rotation, solid.colour)
        if solid.shape == "cone":
            geom.dataid = 2 * self.cone
        geom.emission = solid.glow
        geom.castshadow = int(solid.casts_shadow)

    def _add(self, kind: Any, size: np.ndarray, centre: np.ndarray, rotation: Matrix, colour: RGB) -> Any:
        geom = self.scene.geoms[self.scene.ngeom]
        rgba = np.array([*colour, 1.0], np.float32)
        self.mujoco.mjv_initGeom(geom, kind, size, centre, rotation.reshape(-1), rgba)
        geom.specular, geom.shininess = 0.15, 0.3
        self.scene.ngeom += 1
        return geom

    def _set_lights(self, lighting: Lighting) -> None:
        self.scene.nlight = 2
        sky, sun = self.scene.lights[0], self.scene.lights[1]
        _, azimuth, elevation = lighting
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
        forward, up, _ = camera_axes(look)
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
def stage_of(place: Place) -> Stage:
    """The stage of a setting, made once a process.

    Raises:
        RenderError: MuJoCo, EGL or OSMesa is missing.
    """
    return Stage(SETTINGS[place])


class _Graphics(NamedTuple):
    mujoco: Any
    context: Any


@cache
def _graphics() -> _Graphics:
    """The mujoco module and an OpenGL context made current, once per process; pictures go to buffers of their own."""
    try:
        engine = mujoco()
        context = engine.GLContext(64, 64)
        context.make_current()
    except Exception as error:  # each backend fails in its own way: ImportError, AttributeError, GL errors
        reason = " ".join(str(error).split())[:120]
        raise RenderError(
            f"can't render ({type(error).__name__}: {reason}): install the extra [world] and libegl1 libegl-mesa0 "
            "libgl1-mesa-dri (Debian), or set MUJOCO_GL=osmesa with libosmesa6"
        ) from None
    return _Graphics(engine, context)


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


def project(point: tuple[float, float, float], look: View, height: int, width: int) -> tuple[float, float, float]:
    """(row, column) in pixels of a point in metres, and its depth in metres (negative behind the camera)."""
    forward, up, right = camera_axes(look)
    offset = np.array(point) - np.array(look.eye)
    depth = float(offset @ forward)
    scale = height / (2 * math.tan(FIELD_OF_VIEW / 2)) / max(abs(depth), 1e-6)
    return height / 2 - float(offset @ up) * scale, width / 2 + float(offset @ right) * scale, depth


def unproject(pixels: Float[np.ndarray, "n 2"], look: View, height: int, width: int) -> Float[np.ndarray, "n 2"]:
    """(x, z) in metres of (row, column) places of things that stand as far away (in y) as the camera's target.

    The inverse of `project` for such points.
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
    forward = np.array(look.target) - np.array(look.eye)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    return forward, np.cross(right, forward), right


def about_x(angle: float) -> Matrix:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def about_y(angle: float) -> Matrix:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def about_z(angle: float) -> Matrix:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
