"""The world's vocabulary: what can appear, and what each thing is called in English and Chinese.

How whole captions are put together of it is `captions.py`'s business.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

Kind = Literal[
    "ball", "cube", "cylinder", "cone", "robot", "cat", "penguin", "snowman", "bear", "rabbit", "domino", "wall"
]
Colour = Literal["red", "green", "blue", "yellow", "purple", "orange", "white", "pink"]
Material = Literal["plastic", "rubber", "wood", "metal", "glass"]
Accessory = Literal["hat", "crown", "scarf", "glasses", "bow"]
Expression = Literal["happy", "sad", "surprised", "angry"]
Motion = Literal[
    "right", "left", "jump", "fall", "spin", "circle", "sway", "approach", "leave", "wave", "stand",
    "ramp", "swing", "topple", "collide",
    "chase", "flee", "orbit", "hide", "give", "take", "carried",
]  # fmt: skip
Place = Literal["grass", "desert", "snow", "beach", "room", "street", "forest"]
Time = Literal["day", "sunset", "night"]
Weather = Literal["clear", "rain", "snowfall", "fog"]
Style = Literal["plain", "noir", "pastel", "sketch"]
Camera = Literal[
    "still", "pan_left", "pan_right", "tilt_up", "tilt_down", "zoom_in", "zoom_out", "orbit", "rise", "follow", "close"
]
Language = Literal["en", "zh"]

KINDS, COLOURS, MOTIONS, PLACES, LANGUAGES = (get_args(each) for each in (Kind, Colour, Motion, Place, Language))
MATERIALS, ACCESSORIES, EXPRESSIONS = get_args(Material), get_args(Accessory), get_args(Expression)
TIMES, WEATHERS, STYLES, CAMERAS = get_args(Time), get_args(Weather), get_args(Style), get_args(Camera)

CHARACTERS: tuple[Kind, ...] = ("robot", "cat", "penguin", "snowman", "bear", "rabbit")
OBJECTS: tuple[Kind, ...] = ("ball", "cube", "cylinder", "cone")  # dominoes and walls come only where they're needed
MECHANICAL: tuple[Motion, ...] = ("fall", "ramp", "swing", "topple", "collide")  # simulated
SOLO: tuple[Motion, ...] = ("right", "left", "jump", "fall", "spin", "circle", "sway", "approach", "leave")
SHARED: tuple[Motion, ...] = ("collide", "chase", "orbit", "hide", "give")  # with a partner
PASSIVE: tuple[Motion, ...] = ("flee", "stand", "take", "carried")  # said, if at all, in the partner's phrase
INDOORS: tuple[Place, ...] = ("room",)  # no weather


class Noun(NamedTuple):
    """A thing's English name and its plural, its Chinese name and the Chinese measure word."""

    en: str
    plural: str
    zh: str
    measure: str


NOUNS: dict[Kind, Noun] = {
    "ball": Noun("ball", "balls", "球", "个"),
    "cube": Noun("cube", "cubes", "方块", "个"),
    "cylinder": Noun("cylinder", "cylinders", "圆柱", "个"),
    "cone": Noun("cone", "cones", "圆锥", "个"),
    "robot": Noun("robot", "robots", "机器人", "个"),
    "cat": Noun("cat", "cats", "猫", "只"),
    "penguin": Noun("penguin", "penguins", "企鹅", "只"),
    "snowman": Noun("snowman", "snowmen", "雪人", "个"),
    "bear": Noun("bear", "bears", "熊", "只"),
    "rabbit": Noun("rabbit", "rabbits", "兔子", "只"),
    "domino": Noun("domino", "dominoes", "多米诺骨牌", "块"),
    "wall": Noun("wall", "walls", "墙", "面"),
}
COUNTS: dict[Language, dict[int, str]] = {
    "en": {2: "two", 3: "three", 4: "four", 5: "five"},
    "zh": {1: "一", 2: "两", 3: "三", 4: "四", 5: "五"},
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
MATERIALS_SAID: dict[Language, dict[Material, str]] = {  # plastic goes without saying
    "en": {"plastic": "", "rubber": "rubber", "wood": "wooden", "metal": "metal", "glass": "glass"},
    "zh": {"plastic": "", "rubber": "橡胶", "wood": "木制", "metal": "金属", "glass": "玻璃"},
}
ACCESSORIES_SAID: dict[Language, dict[Accessory, str]] = {
    "en": {"hat": "a top hat", "crown": "a crown", "scarf": "a scarf", "glasses": "glasses", "bow": "a bow tie"},
    "zh": {
        "hat": "戴着礼帽的",
        "crown": "戴着王冠的",
        "scarf": "围着围巾的",
        "glasses": "戴着眼镜的",
        "bow": "系着领结的",
    },
}
EXPRESSIONS_ZH: dict[Expression, str] = {
    "happy": "开心的",
    "sad": "难过的",
    "surprised": "惊讶的",
    "angry": "生气的",
}

SETTINGS: dict[Language, dict[Place, tuple[str, ...]]] = {
    "en": {
        "grass": ("on the grass", "in a meadow", "on a grassy field"),
        "desert": ("in the desert", "on the sand of a desert"),
        "snow": ("in the snow", "on a snowy field"),
        "beach": ("on the beach", "at the seaside"),
        "room": ("on a wooden floor", "in a room with a wooden floor", "indoors"),
        "street": ("on the street", "on a city street"),
        "forest": ("in the forest", "among the trees"),
    },
    "zh": {
        "grass": ("草地上", "草坪上"),
        "desert": ("沙漠里", "沙漠中"),
        "snow": ("雪地上", "雪地里"),
        "beach": ("海滩上", "海边"),
        "room": ("木地板上", "房间的木地板上", "房间里"),
        "street": ("街道上", "城市的街道上"),
        "forest": ("森林里", "树林中"),
    },
}
TIMES_SAID: dict[Language, dict[Time, tuple[str, ...]]] = {  # the day often goes without saying
    "en": {
        "day": ("", "", "by day", "in daylight"),
        "sunset": ("at sunset", "in the evening light"),
        "night": ("at night", "under the moon"),
    },
    "zh": {"day": ("", "", "白天"), "sunset": ("日落时", "傍晚"), "night": ("夜晚", "月光下")},
}
WEATHERS_SAID: dict[Language, dict[Weather, tuple[str, ...]]] = {
    "en": {
        "clear": ("",),
        "rain": ("in the rain", "while it rains"),
        "snowfall": ("while it snows", "with snowflakes in the air"),
        "fog": ("in the fog", "in thick fog"),
    },
    "zh": {"clear": ("",), "rain": ("下着雨", "雨中"), "snowfall": ("下着雪", "雪花飘落"), "fog": ("雾中", "大雾里")},
}
STYLES_SAID: dict[Language, dict[Style, tuple[str, ...]]] = {
    "en": {
        "plain": ("",),
        "noir": ("in black and white", "film noir"),
        "pastel": ("in pastel colors", "in a soft pastel style"),
        "sketch": ("as a pencil drawing", "in the style of a pencil sketch"),
    },
    "zh": {
        "plain": ("",),
        "noir": ("黑白电影风格", "黑白画面"),
        "pastel": ("柔和的粉彩风格", "粉彩色调"),
        "sketch": ("铅笔画风格", "铅笔素描风格"),
    },
}
CAMERAS_SAID: dict[Language, dict[Camera, tuple[str, ...]]] = {
    "en": {
        "still": ("the camera is still", "static shot"),
        "pan_left": ("the camera pans left",),
        "pan_right": ("the camera pans right",),
        "tilt_up": ("the camera tilts up",),
        "tilt_down": ("the camera tilts down",),
        "zoom_in": ("the camera moves in", "the camera zooms in"),
        "zoom_out": ("the camera pulls back", "the camera zooms out"),
        "orbit": ("the camera circles around", "the camera orbits the scene"),
        "rise": ("the camera rises", "the camera cranes up"),
        "follow": ("the camera follows", "tracking shot"),
        "close": ("close-up", "a close-up shot"),
    },
    "zh": {
        "still": ("镜头静止", "固定镜头"),
        "pan_left": ("镜头向左摇",),
        "pan_right": ("镜头向右摇",),
        "tilt_up": ("镜头上摇",),
        "tilt_down": ("镜头下摇",),
        "zoom_in": ("镜头推近", "镜头慢慢拉近"),
        "zoom_out": ("镜头拉远",),
        "orbit": ("镜头环绕", "镜头绕着场景转"),
        "rise": ("镜头上升",),
        "follow": ("镜头跟随", "跟拍镜头"),
        "close": ("特写", "特写镜头"),
    },
}
