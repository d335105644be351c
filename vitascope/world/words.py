"""The world's vocabulary: what can appear, and what each thing is called in English and Chinese."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

Kind = Literal["ball", "cube", "cylinder", "cone", "robot", "cat", "penguin", "snowman"]
Colour = Literal["red", "green", "blue", "yellow", "purple", "orange", "white", "pink"]
Motion = Literal["right", "left", "jump", "fall", "spin", "circle", "sway", "approach"]
Place = Literal["grass", "desert", "snow", "beach", "room", "night"]
Shot = Literal["still", "pan_left", "pan_right", "zoom_in", "zoom_out", "orbit", "rise"]
Language = Literal["en", "zh"]

KINDS, COLOURS, MOTIONS = get_args(Kind), get_args(Colour), get_args(Motion)
PLACES, SHOTS, LANGUAGES = get_args(Place), get_args(Shot), get_args(Language)
WALKERS = ("robot", "cat", "penguin")  # these have feet


class Noun(NamedTuple):
    """A thing's English name, its Chinese name and the Chinese measure word."""

    en: str
    zh: str
    measure: str


NOUNS: dict[Kind, Noun] = {
    "ball": Noun("ball", "球", "个"),
    "cube": Noun("cube", "方块", "个"),
    "cylinder": Noun("cylinder", "圆柱", "个"),
    "cone": Noun("cone", "圆锥", "个"),
    "robot": Noun("robot", "机器人", "个"),
    "cat": Noun("cat", "猫", "只"),
    "penguin": Noun("penguin", "企鹅", "只"),
    "snowman": Noun("snowman", "雪人", "个"),
}
COLOURS_ZH: dict[Colour, tuple[str, ...]] = {  # what stands before the noun
    "red": ("红色的", "红"),
    "green": ("绿色的", "绿"),
    "blue": ("蓝色的", "蓝"),
    "yellow": ("黄色的", "黄"),
    "purple": ("紫色的", "紫"),
    "orange": ("橙色的", "橙色"),
    "white": ("白色的", "白"),
    "pink": ("粉色的", "粉色"),
}

TRAVEL_EN: dict[Kind, tuple[str, ...]] = {
    "ball": ("rolls",),
    "cube": ("slides", "glides"),
    "cylinder": ("slides", "glides"),
    "cone": ("slides", "glides"),
    "robot": ("walks", "marches"),
    "cat": ("walks", "strolls"),
    "penguin": ("waddles", "walks"),
    "snowman": ("glides", "slides"),
}
TRAVEL_ZH: dict[Kind, tuple[str, ...]] = {
    "ball": ("滚",),
    "cube": ("滑",),
    "cylinder": ("滑",),
    "cone": ("滑",),
    "robot": ("走",),
    "cat": ("走",),
    "penguin": ("走",),
    "snowman": ("滑",),
}

SETTINGS_EN: dict[Place, tuple[str, ...]] = {
    "grass": ("on the grass", "in a green meadow", "on a grassy field"),
    "desert": ("in the desert", "on the sand of a desert"),
    "snow": ("in the snow", "on a snowy field"),
    "beach": ("on the beach", "at the seaside"),
    "room": ("on a wooden floor", "in a room with a wooden floor", "indoors"),
    "night": ("at night", "under the moon", "on a dark street at night"),
}
SETTINGS_ZH: dict[Place, tuple[str, ...]] = {
    "grass": ("草地上", "绿色的草地上"),
    "desert": ("沙漠里", "沙漠中"),
    "snow": ("雪地上", "雪地里"),
    "beach": ("海滩上", "海边"),
    "room": ("木地板上", "房间的木地板上", "房间里"),
    "night": ("夜晚的街上", "月光下"),
}
CAMERAS_EN: dict[Shot, tuple[str, ...]] = {
    "still": ("the camera is still", "static shot"),
    "pan_left": ("the camera pans left",),
    "pan_right": ("the camera pans right",),
    "zoom_in": ("the camera moves in", "the camera zooms in"),
    "zoom_out": ("the camera pulls back", "the camera zooms out"),
    "orbit": ("the camera circles around", "the camera orbits the scene"),
    "rise": ("the camera rises", "the camera cranes up"),
}
CAMERAS_ZH: dict[Shot, tuple[str, ...]] = {
    "still": ("镜头静止", "固定镜头"),
    "pan_left": ("镜头向左摇",),
    "pan_right": ("镜头向右摇",),
    "zoom_in": ("镜头推近", "镜头慢慢拉近"),
    "zoom_out": ("镜头拉远",),
    "orbit": ("镜头环绕", "镜头绕着场景转"),
    "rise": ("镜头升起",),
}
