"""Renderer of solids, on MuJoCo. Solids are placed for each frame, so one context serves all scenes of a setting.

Render from one thread per process: an OpenGL context belongs to the thread that created it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from vitascope.errors import RenderError
from vitascope.worlds.solids.camera import FIELD_OF_VIEW, View, camera_axes
from vitascope.worlds.solids.cast import PLASTIC, RGB, Finish, Part, Shape
from vitascope.worlds.solids.engine import mujoco
from vitascope.worlds.solids.environments import SKY, Environment, environment_of, ground_texture, sky_texture
from vitascope.worlds.solids.rotations import Matrix, about_x, about_y
from vitascope.worlds.solids.words import Setting, Time

SUPERSAMPLING = 2  # factor per side; averaging smooths edges without multisampling
MAX_SIDE = 16384 // SUPERSAMPLING  # drivers leave larger pictures black without an error
TILE_METRES = 6.0  # size of one repeat of the ground's pattern
NEAR, FAR = 0.05, 80.0

FOG = (0.6, 7.0)  # start as a share of the distance to the actors; end in metres behind them
MAX_SOLIDS = 1000

Point = Float[np.ndarray, " 3"]


@dataclass(frozen=True)
class Solid:
    """One primitive in world coordinates: half-sizes and centre in metres, rotation, colour in 0..1."""

    shape: Shape
    size: Point
    centre: Point
    rotation: Matrix
    colour: RGB
    glow: float = 0.0  # emission
    casts_shadow: bool = True
    finish: Finish = PLASTIC
    owner: int | None = None  # number of its actor


class Lighting(NamedTuple):
    """Ground shade, sun direction and fog of one clip."""

    ground_shade: RGB  # multiplies the ground's colour
    azimuth: float  # of the sun, radians
    elevation: float
    foggy: bool = False


class Surfaces(NamedTuple):
    """Solid visible at each sample, as its index in `Stage.solids` (-1: sky), and its depth in metres (sky: infinite).

    Depth is the distance along the camera's axis.
    """

    solids: Int[np.ndarray, "h w"]
    depth: Float32[np.ndarray, "h w"]


class Haze(NamedTuple):
    """Haze: it begins at `near` metres from the camera and hides everything at `far`."""

    near: float
    far: float
    colour: RGB


def solid(part: Part, origin: Point, rotation: Matrix, *, scale: float = 1.0, casts_shadow: bool = True) -> Solid:
    """A part in world coordinates, for an actor with its foot at `origin`, rotated and scaled."""
    own = about_x(part.tilt[0]) @ about_y(part.tilt[1])
    size, centre = np.array(part.size) * scale, origin + rotation @ (np.array(part.at) * scale)
    return Solid(part.shape, size, centre, rotation @ own, part.colour, part.glow, casts_shadow)


class Stage:
    """Renderer of one environment: its textures on the graphics device, and an offscreen buffer."""

    def __init__(self, environment: Environment):
        engine, self.gl, self.opengl = _graphics()
        self.mujoco, self.environment = engine, environment
        self.gl.make_current()
        self.model = engine.MjModel.from_xml_string(_xml())
        self._paint("sky", sky_texture(environment))
        self._paint("ground", ground_texture(environment))
        self._paint("grain", np.stack([wood_grain()] * 6))
        self.context = engine.MjrContext(self.model, engine.mjtFontScale.mjFONTSCALE_50)
        self.context.shadowClip = 3.0
        self.scene = engine.MjvScene(self.model, maxgeom=MAX_SOLIDS)
        self.solids: list[Solid | None] = []  # of the arranged frame; None is the ground
        self.ground, self.grain = self.model.material("ground").id, self.model.material("grain").id
        self.cone = self.model.mesh("cone").id
        vertices = self.model.mesh_vert  # MuJoCo's compiler moves a mesh's origin to its centre of mass
        self.cone_middle = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
        self.kinds: dict[Shape, Any] = {
            "sphere": engine.mjtGeom.mjGEOM_SPHERE,
            "box": engine.mjtGeom.mjGEOM_BOX,
            "cylinder": engine.mjtGeom.mjGEOM_CYLINDER,
            "capsule": engine.mjtGeom.mjGEOM_CAPSULE,
            "ellipsoid": engine.mjtGeom.mjGEOM_ELLIPSOID,
            "cone": engine.mjtGeom.mjGEOM_MESH,
        }

    def _paint(self, texture: str, pixels: UInt8[np.ndarray, "... 3"]) -> None:
        start = int(self.model.tex_adr[self.model.texture(texture).id])
        self.model.tex_data[start : start + pixels.size] = pixels.reshape(-1)

    def arrange(self, solids: Iterable[Solid], lighting: Lighting, look: View, aspect: float) -> None:
        """Set up the environment, solids, lights and camera of a frame; `aspect` is width / height."""
        self._lay_out(solids, lighting)
        self._set_lights(lighting)
        self._set_camera(look, aspect)
        self.haze = haze_of(self.environment, lighting, look)

    def picture(self, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
        """The arranged frame, top row first."""
        return _averaged(self._read(height * SUPERSAMPLING, width * SUPERSAMPLING))

    def owners(self, height: int, width: int) -> Int[np.ndarray, "h w"]:
        """Number of the actor visible at each pixel of the arranged frame; -1 for none."""
        return self.owners_of(self._visible(height, width))

    def owners_of(self, solids: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
        """Numbers of the actors that the solids of an index array belong to; -1 for none."""
        owners = [-1 if each is None or each.owner is None else each.owner for each in self.solids]
        return np.array([*owners, -1])[solids]  # the last entry is the sky's

    def surfaces(self, height: int, width: int) -> Surfaces:
        """Visible surfaces of the arranged frame, for one sample per pixel of this size. Glass counts as opaque."""
        distances = np.empty((height, width), np.float32)
        solids = self._visible(height, width, distances)
        depth = NEAR / np.maximum(1 - distances[::-1] * (1 - NEAR / FAR), NEAR / FAR)
        depth[solids < 0] = np.inf
        return Surfaces(solids, depth)

    def _visible(
        self, height: int, width: int, distances: Float32[np.ndarray, "h w"] | None = None
    ) -> Int[np.ndarray, "h w"]:
        """Index of the solid visible at each pixel; -1 for the sky. Also fills `distances` from the depth buffer."""
        flags, kept = self.mujoco.mjtRndFlag, self.scene.flags.copy()
        self.scene.flags[flags.mjRND_SHADOW] = self.scene.flags[flags.mjRND_SKYBOX] = 0
        self.scene.flags[flags.mjRND_SEGMENT] = self.scene.flags[flags.mjRND_IDCOLOR] = 1
        pixels = self._read(height, width, distances)
        self.scene.flags[:] = kept
        return pixels[..., 0].astype(int) + 256 * pixels[..., 1].astype(int) - 1

    def _read(
        self, height: int, width: int, distances: Float32[np.ndarray, "h w"] | None = None
    ) -> UInt8[np.ndarray, "h w 3"]:
        """Render and read the pixels, top row first; `distances` receives the depth buffer, bottom row first."""
        self.gl.make_current()  # other code in this process may use OpenGL, too
        self._set_haze()
        self.mujoco.mjr_resizeOffscreen(width, height, self.context)
        rectangle = self.mujoco.MjrRect(0, 0, width, height)
        pixels = np.empty((height, width, 3), np.uint8)
        self.mujoco.mjr_setBuffer(self.mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.context)
        self.mujoco.mjr_render(rectangle, self.scene, self.context)
        self.mujoco.mjr_readPixels(pixels, distances, rectangle, self.context)
        return pixels[::-1]

    def _lay_out(self, solids: Iterable[Solid], lighting: Lighting) -> None:
        self.scene.ngeom = 0
        self.solids = [None]
        plane = self.mujoco.mjtGeom.mjGEOM_PLANE
        ground = self._add(plane, np.array([60, 60, 0.1]), np.zeros(3), np.eye(3), lighting.ground_shade)
        ground.matid = self.ground
        ground.castshadow = 0
        for prop in self.environment.props:
            self._add_solid(solid(prop, np.zeros(3), np.eye(3), casts_shadow=False))
        for each in solids:
            self._add_solid(each)

    def _add_solid(self, solid: Solid) -> None:
        size, centre, rotation = solid.size, solid.centre, solid.rotation
        if solid.shape in ("cylinder", "capsule"):  # MuJoCo takes a radius and half the length
            size = np.array((size[0], size[2], 0.0))
        if solid.shape == "cone":  # a mesh of half-size 1, scaled by its matrix
            rotation = rotation @ np.diag(size)
            centre, size = centre - rotation @ self.cone_middle, np.ones(3)
        geom = self._add(self.kinds[solid.shape], size, centre, rotation, solid.colour)
        if solid.shape == "cone":
            geom.dataid = 2 * self.cone
        geom.emission = solid.glow
        geom.castshadow = int(solid.casts_shadow)
        finish = solid.finish
        geom.specular, geom.shininess = finish.specular, finish.shininess
        if finish.opacity < 1:
            geom.rgba[3], geom.transparent = finish.opacity, 1
        if finish.grain:
            geom.matid = self.grain
        self.solids.append(solid)

    def _add(self, kind: Any, size: np.ndarray, centre: np.ndarray, rotation: Matrix, colour: RGB) -> Any:
        geom = self.scene.geoms[self.scene.ngeom]
        rgba = np.array([*colour, 1.0], np.float32)
        self.mujoco.mjv_initGeom(geom, kind, size, centre, rotation.reshape(-1), rgba)
        geom.specular, geom.segid = 0.0, self.scene.ngeom
        self.scene.ngeom += 1
        return geom

    def _set_lights(self, lighting: Lighting) -> None:
        self.scene.nlight = 2
        sky, sun = self.scene.lights[0], self.scene.lights[1]
        azimuth, elevation = lighting.azimuth, lighting.elevation
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
        colour, strength = np.array(self.environment.sunlight), self.environment.sun * (0.55 if lighting.foggy else 1.0)
        ambient = self.environment.ambient * (1.3 if lighting.foggy else 1.0)
        sky.ambient[:], sky.diffuse[:] = ambient * colour, 0.18 * colour
        sun.ambient[:], sun.diffuse[:], sun.specular[:] = 0.0, strength * colour, 0.5 * strength * colour
        flags = self.mujoco.mjtRndFlag
        self.scene.flags[flags.mjRND_FOG] = 1
        self.scene.flags[flags.mjRND_SHADOW] = 1
        self.scene.flags[flags.mjRND_SKYBOX] = 1
        self.scene.flags[flags.mjRND_REFLECTION] = 0

    def _set_haze(self) -> None:
        """Set OpenGL's fog for haze and fog.

        MuJoCo sets it when it creates a context, and its colour after each picture, which is too late for this one.
        """
        near, far, colour = self.haze
        self.context.fogRGBA[:3] = colour
        self.opengl.glFogf(self.opengl.GL_FOG_START, near)
        self.opengl.glFogf(self.opengl.GL_FOG_END, far)
        self.opengl.glFogfv(self.opengl.GL_FOG_COLOR, (*colour, 1.0))

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


def haze_of(environment: Environment, lighting: Lighting, look: View) -> Haze:
    """Haze of an environment in a view."""
    distance, horizon = math.dist(look.eye, look.target), np.array(environment.horizon)
    if lighting.foggy:
        return Haze(FOG[0] * distance, distance + FOG[1], tuple((0.5 * (horizon + horizon.mean())).tolist()))
    return Haze(10.0, environment.haze, tuple(horizon.tolist()))


def _averaged(pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Rounded mean of each block of supersamples; strided sums are ten times as fast as `mean`."""
    offsets = range(SUPERSAMPLING)
    samples = [pixels[row::SUPERSAMPLING, column::SUPERSAMPLING] for row in offsets for column in offsets]
    total = sum((each.astype(np.uint16) for each in samples[1:]), samples[0].astype(np.uint16))
    return ((total + len(samples) // 2) // len(samples)).astype(np.uint8)


def wood_grain(size: int = 64) -> UInt8[np.ndarray, "n n 3"]:
    """Grey texture of wood grain, multiplied by a colour."""
    u, v = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size))
    rings = np.sin(2 * np.pi * (5 * u + 0.6 * np.sin(2 * np.pi * v) + 0.25 * np.sin(6 * np.pi * v + 2 * u)))
    grey = 0.8 + 0.2 * np.tanh(2 * rings)
    return np.repeat((255 * grey)[..., None], 3, axis=-1).round().astype(np.uint8)


def check_renderer() -> None:
    """Check that this machine can render.

    Raises:
        RenderError: MuJoCo, EGL or OSMesa is missing.
    """
    _graphics()


@cache
def stage_of(place: Setting, time: Time = "day") -> Stage:
    """Renderer of a setting at a time of day, created once per process.

    Raises:
        RenderError: MuJoCo, EGL or OSMesa is missing.
    """
    return Stage(environment_of(place, time))


class _Graphics(NamedTuple):
    mujoco: Any
    context: Any
    opengl: Any


@cache
def _graphics() -> _Graphics:
    """The mujoco module and a current OpenGL context, created once per process; pictures use offscreen buffers."""
    try:
        engine = mujoco()
        context = engine.GLContext(64, 64)
        context.make_current()
        from OpenGL import GL  # after MuJoCo has chosen its platform
    except Exception as error:  # backends raise ImportError, AttributeError or GL errors
        reason = " ".join(str(error).split())[:120]
        raise RenderError(
            f"can't render ({type(error).__name__}: {reason}): install the extra [world] and libegl1 libegl-mesa0 "
            "libgl1-mesa-dri (Debian), or set MUJOCO_GL=osmesa with libosmesa6"
        ) from None
    return _Graphics(engine, context, GL)


def _xml() -> str:
    """MJCF model with the renderer's assets: sky, ground, wood grain and the mesh of a cone."""
    repeat = 1 / TILE_METRES
    return f"""
    <mujoco>
      <visual>
        <quality offsamples="0" shadowsize="1024" numslices="24" numstacks="16"/>
        <map znear="0.01" zfar="80" shadowclip="3"/>
      </visual>
      <statistic extent="1" center="0 0 0"/>
      <asset>
        <texture name="sky" type="skybox" builtin="flat" width="{SKY}" height="{6 * SKY}" rgb1="1 1 1"/>
        <texture name="ground" type="2d" builtin="flat" width="64" height="64" rgb1="1 1 1"/>
        <texture name="grain" type="cube" builtin="flat" width="64" height="64" rgb1="1 1 1"/>
        <material name="grain" texture="grain"/>
        <material name="ground" texture="ground" texrepeat="{repeat} {repeat}" texuniform="true" specular="0"/>
        <mesh name="cone" builtin="cone" params="24 0"/>
      </asset>
      <worldbody>
        <geom type="plane" size="60 60 0.1" material="ground"/>
        <geom type="mesh" mesh="cone"/>
      </worldbody>
    </mujoco>"""
