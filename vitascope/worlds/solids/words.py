"""Vocabulary of the world: all contents of scenes, with their names in English and Chinese.

`captions.py` composes captions from it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from vitascope.worlds.language import Language

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
Setting = Literal["grass", "desert", "snow", "beach", "room", "street", "forest"]
Time = Literal["day", "sunset", "night"]
Weather = Literal["clear", "rain", "snowfall", "fog"]
Style = Literal["plain", "noir", "pastel", "sketch"]

KINDS, COLOURS, MOTIONS, SETTINGS = (get_args(each) for each in (Kind, Colour, Motion, Setting))
MATERIALS, ACCESSORIES, EXPRESSIONS = get_args(Material), get_args(Accessory), get_args(Expression)
TIMES, WEATHERS, STYLES = get_args(Time), get_args(Weather), get_args(Style)

CHARACTERS: tuple[Kind, ...] = ("robot", "cat", "penguin", "snowman", "bear", "rabbit")
OBJECTS: tuple[Kind, ...] = (
    "ball",
    "cube",
    "cylinder",
    "cone",
)  # dominoes and walls appear only in the events that need them
MECHANICAL: tuple[Motion, ...] = ("fall", "ramp", "swing", "topple", "collide")  # simulated
SOLO: tuple[Motion, ...] = ("right", "left", "jump", "fall", "spin", "circle", "sway", "approach", "leave")
SHARED: tuple[Motion, ...] = ("collide", "chase", "orbit", "hide", "give")  # with a partner
PASSIVE: tuple[Motion, ...] = ("flee", "stand", "take", "carried")  # mentioned only in the partner's phrase
INDOORS: tuple[Setting, ...] = ("room",)  # no weather


class Noun(NamedTuple):
    """English singular and plural, Chinese name and its measure word."""

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
COLOURS_ZH: dict[Colour, tuple[str, ...]] = {  # long and short form before the noun
    "red": ("红色的", "红"),
    "green": ("绿色的", "绿"),
    "blue": ("蓝色的", "蓝"),
    "yellow": ("黄色的", "黄"),
    "purple": ("紫色的", "紫"),
    "orange": ("橙色的", "橙色"),
    "white": ("白色的", "白"),
    "pink": ("粉色的", "粉色"),
}
MATERIAL_PHRASES: dict[Language, dict[Material, str]] = {  # plastic is not mentioned
    "en": {"plastic": "", "rubber": "rubber", "wood": "wooden", "metal": "metal", "glass": "glass"},
    "zh": {"plastic": "", "rubber": "橡胶", "wood": "木制", "metal": "金属", "glass": "玻璃"},
}
ACCESSORY_PHRASES: dict[Language, dict[Accessory, str]] = {
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

SETTING_PHRASES: dict[Language, dict[Setting, tuple[str, ...]]] = {
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
TIME_PHRASES: dict[Language, dict[Time, tuple[str, ...]]] = {  # "" makes the day often implicit
    "en": {
        "day": ("", "", "by day", "in daylight"),
        "sunset": ("at sunset", "in the evening light"),
        "night": ("at night", "under the moon"),
    },
    "zh": {"day": ("", "", "白天"), "sunset": ("日落时", "傍晚"), "night": ("夜晚", "月光下")},
}
WEATHER_PHRASES: dict[Language, dict[Weather, tuple[str, ...]]] = {
    "en": {
        "clear": ("",),
        "rain": ("in the rain", "while it rains"),
        "snowfall": ("while it snows", "with snowflakes in the air"),
        "fog": ("in the fog", "in thick fog"),
    },
    "zh": {"clear": ("",), "rain": ("下着雨", "雨中"), "snowfall": ("下着雪", "雪花飘落"), "fog": ("雾中", "大雾里")},
}
STYLE_PHRASES: dict[Language, dict[Style, tuple[str, ...]]] = {
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
