"""Drawing a scene with MuJoCo's renderer: every frame's solids are laid out directly, so one context serves all scenes."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from vitascope.errors import VitascopeError
from vitascope.video import Video
from vitascope.world.cast import PALETTE, RGB, Part, body_centre, build
from vitascope.world.places import MOON, SETTINGS, Setting, ground_texture
from vitascope.world.scene import FIELD_OF_VIEW, Actor, Pose, Scene, View, pose, view

SUPERSAMPLING = 2  # each side; averaged down, so edges are smooth without multisampling
TILE_METRES = 6.0  # one repeat of the ground's pattern
NEAR, FAR = 0.05, 80.0

Matrix = Float[np.ndarray, "3 3"]


class RenderError(VitascopeError):
    """Nothing to render with: MuJoCo or an OpenGL library is missing."""


@dataclass(frozen=True)
class Rendered:
    """A clip and, for each frame, where everything was."""

    video: Video
    truth: dict[str, Any]


def render_scene(scene: Scene, *, num_frames: int, fps: float, height: int, width: int, start: float = 0.0) -> Rendered:
    """A scene's frames from `start` seconds on, and their truth: poses in metres and radians, image places in pixels.

    Raises:
        RenderError: MuJoCo, EGL or OSMesa is missing.
    """
    stage = _stage(scene.place, height * SUPERSAMPLING, width * SUPERSAMPLING)
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    truth: list[dict[str, Any]] = []
    for index in range(num_frames):
        seconds = start + index / fps
        poses = [pose(actor, seconds) for actor in scene.actors]
        look = view(scene, seconds, width / height)
        pixels = stage.draw(scene, poses, look)
        frames[index] = _average(pixels, height, width)
        truth.append(_frame_truth(scene, poses, look, height, width))
    return Rendered(Video(frames, fps), {"fps": fps, "frames": truth})


def _average(pixels: UInt8[np.ndarray, "h2 w2 3"], height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    blocks = pixels.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, 3)
    return (blocks.mean(axis=(1, 3)) + 0.5).astype(np.uint8)


def _frame_truth(scene: Scene, poses: list[Pose], look: View, height: int, width: int) -> dict[str, Any]:
    actors = []
    for actor, at in zip(scene.actors, poses, strict=True):
        row, column, depth = project((at.x, at.y, at.z + 0.5 * actor.height), look, height, width)
        seen = depth > 0 and 0 <= row < height and 0 <= column < width
        position = [round(value, 4) for value in (at.x, at.y, at.z)]
        actors.append(
            {"position": position, "yaw": round(at.yaw, 4), "pixel": [round(row, 2), round(column, 2)], "visible": seen}
        )
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
    """A setting's textures on the graphics device, and a picture buffer of one size."""

    def __init__(self, setting: Setting, height: int, width: int):
        self.mujoco = mujoco = _mujoco(max(height, width))
        self.setting, self.height, self.width = setting, height, width
        self.model = mujoco.MjModel.from_xml_string(_xml(setting, height, width))
        texture = self.model.texture("ground")
        data = ground_texture(setting).reshape(-1)
        start = int(self.model.tex_adr[texture.id])
        self.model.tex_data[start : start + data.size] = data
        self.context = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_50)
        self.context.shadowClip = 3.0
        self.scene = mujoco.MjvScene(self.model, maxgeom=300)
        self.cone = self.model.mesh("cone").id
        vertices = self.model.mesh_vert  # the compiler moves a mesh's origin to its centre of mass
        self.cone_middle = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
        self.ground = self.model.material("ground").id
        self.pixels = np.empty((height, width, 3), np.uint8)

    def draw(self, scene: Scene, poses: list[Pose], look: View) -> UInt8[np.ndarray, "h w 3"]:
        """One frame, top row first; valid until the next call."""
        mujoco, geometry = self.mujoco, self.mujoco.mjtGeom
        self.scene.ngeom = 0
        plane = self._add(geometry.mjGEOM_PLANE, (60, 60, 0.1), np.zeros(3), np.eye(3), scene.ground_shade)
        plane.matid = self.ground
        plane.castshadow = 0
        for part in self.setting.props:
            self._add_part(part, np.zeros(3), np.eye(3), 1.0, glow=part.at == MOON, casts_shadow=False)
        for actor, at in zip(scene.actors, poses, strict=True):
            self._add_actor(actor, at)
        self._set_lights(scene)
        self._set_camera(look)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.context)
        rectangle = mujoco.MjrRect(0, 0, self.width, self.height)
        mujoco.mjr_render(rectangle, self.scene, self.context)
        mujoco.mjr_readPixels(self.pixels, None, rectangle, self.context)
        return self.pixels[::-1]

    def _add_actor(self, actor: Actor, at: Pose) -> None:
        colour = tuple(min(1.0, c * s) for c, s in zip(PALETTE[actor.colour], actor.shade, strict=True))
        pivot = body_centre(actor.kind) * actor.height
        turn = _about_z(at.yaw) if actor.kind != "ball" else np.eye(3)
        tilt = _about_y(at.roll)
        if actor.kind == "ball" and not at.roll:
            turn = _about_z(at.yaw)
        origin = np.array([at.x, at.y, at.z + pivot])
        rotation = tilt @ turn
        for part in build(actor.kind, (colour[0], colour[1], colour[2])):
            self._add_part(part, origin - rotation @ (0, 0, pivot), rotation, actor.height)

    def _add_part(
        self,
        part: Part,
        origin: np.ndarray,
        rotation: Matrix,
        scale: float,
        *,
        glow: bool = False,
        casts_shadow: bool = True,
    ) -> None:
        geometry = self.mujoco.mjtGeom
        kinds = {
            "sphere": geometry.mjGEOM_SPHERE,
            "box": geometry.mjGEOM_BOX,
            "cylinder": geometry.mjGEOM_CYLINDER,
            "capsule": geometry.mjGEOM_CAPSULE,
            "ellipsoid": geometry.mjGEOM_ELLIPSOID,
            "cone": geometry.mjGEOM_MESH,
        }
        own = _about_x(part.tilt[0]) @ _about_y(part.tilt[1])
        centre = origin + rotation @ (np.array(part.at) * scale)
        if part.shape == "cone":  # a mesh of half-size 1, stretched by its matrix
            shape = rotation @ own @ np.diag(np.array(part.size) * scale)
            geom = self._add(kinds["cone"], (1, 1, 1), centre - shape @ self.cone_middle, shape, part.colour)
            geom.dataid = 2 * self.cone
        else:
            size = tuple(s * scale for s in part.size)
            geom = self._add(kinds[part.shape], size, centre, rotation @ own, part.colour)
        geom.emission = 0.9 if glow else 0.0
        geom.castshadow = int(casts_shadow)

    def _add(self, kind: int, size: tuple[float, ...], centre: np.ndarray, rotation: np.ndarray, colour: RGB) -> Any:
        geom = self.scene.geoms[self.scene.ngeom]
        rgba = np.array([*colour, 1.0], np.float32)
        self.mujoco.mjv_initGeom(geom, kind, np.array(size, float), centre.astype(float), rotation.reshape(-1), rgba)
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

    def _set_camera(self, look: View) -> None:
        forward, up, _ = _camera_axes(look)
        for camera in (self.scene.camera[0], self.scene.camera[1]):
            camera.pos[:], camera.forward[:], camera.up[:] = look.eye, forward, up
            camera.frustum_near, camera.frustum_far = NEAR, FAR
            top = NEAR * math.tan(FIELD_OF_VIEW / 2)
            camera.frustum_top, camera.frustum_bottom = top, -top
            camera.frustum_center, camera.frustum_width = 0.0, top * self.width / self.height
        self.scene.enabletransform = 0
        self.scene.scale = 1.0


@lru_cache(maxsize=64)
def _stage(place: str, height: int, width: int) -> _Stage:
    return _Stage(SETTINGS[place], height, width)


_contexts: list[Any] = []


def _mujoco(side: int) -> Any:
    """The mujoco module with an OpenGL context made current, once per process."""
    if sys.platform.startswith("linux") and "MUJOCO_GL" not in os.environ:
        os.environ["MUJOCO_GL"] = "egl"
    try:
        import mujoco

        if not _contexts:
            context = mujoco.GLContext(side, side)
            context.make_current()
            _contexts.append(context)
    except Exception as error:  # each backend fails in its own way: ImportError, AttributeError, GL errors
        reason = " ".join(str(error).split())[:120]
        raise RenderError(
            f"can't render ({type(error).__name__}: {reason}): install the extra [world] and libegl1 libegl-mesa0 "
            "libgl1-mesa-dri (Debian), or set MUJOCO_GL=osmesa with libosmesa6"
        ) from None
    return mujoco


def _xml(setting: Setting, height: int, width: int) -> str:
    """A model that carries what the renderer needs on the device: sky, ground pattern and the cone's mesh."""
    horizon, zenith = (" ".join(f"{c:.3f}" for c in colour) for colour in (setting.horizon, setting.zenith))
    repeat = 1 / TILE_METRES
    return f"""
    <mujoco>
      <visual>
        <global offwidth="{width}" offheight="{height}"/>
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
