"""Phrases for motions and backdrops of emoji scenes, in English and Chinese."""

from __future__ import annotations

from vitascope.worlds.emoji.scene import Backdrop, Motion

# The first word is a verb in its base form, which captions conjugate
MOTION_PHRASES_EN: dict[Motion, tuple[str, ...]] = {
    "stay": ("stay in place", "stand still", "stay where {it} {is}"),
    "right": ("move to the right", "glide to the right", "travel from left to right", "move right"),
    "left": ("move to the left", "glide to the left", "travel from right to left", "move left"),
    "approach": ("come closer", "come towards the camera", "approach the camera"),
    "recede": ("move away", "go away from the camera", "glide away into the distance"),
    "hop": ("hop up and down", "jump up and down", "hop on the spot"),
    "rise": ("float up", "rise into the air", "float upwards"),
    "fall": ("drop from above", "fall down from above", "fall to the ground"),
    "circle": ("move in a circle", "go round in circles", "circle around"),
    "sway": ("sway from side to side", "rock from side to side", "swing left and right"),
    "spin": ("spin around", "turn like a wheel", "spin in place"),
}
MOTION_PHRASES_ZH: dict[Motion, tuple[str, ...]] = {
    "stay": ("待在原地", "停在原地", "一动不动地待着"),
    "right": ("向右移动", "从左向右移动", "往右边滑去"),
    "left": ("向左移动", "从右向左移动", "往左边滑去"),
    "approach": ("向镜头靠近", "越来越近", "朝镜头移过来"),
    "recede": ("渐渐远去", "越来越远", "朝远处移去"),
    "hop": ("上下跳动", "在原地蹦跳", "不停地跳"),
    "rise": ("飘向空中", "慢慢升起", "向上飘"),
    "fall": ("从上面掉下来", "从空中落下", "从高处落到地上"),
    "circle": ("绕圈移动", "转着圈移动", "不停地绕圈"),
    "sway": ("左右摇摆", "左右摇晃", "来回摆动"),
    "spin": ("原地旋转", "像轮子一样转动", "不停地旋转"),
}
BACKDROP_PHRASES_EN: dict[Backdrop, tuple[str, ...]] = {
    "meadow": ("on a green meadow", "on the grass", "in a meadow with hills behind"),
    "beach": ("on the beach", "by the sea", "on the sand by the sea"),
    "desert": ("in the desert", "among sand dunes"),
    "snow": ("in the snow", "on a snowy field", "in a snowy landscape"),
    "sunset": ("at sunset", "in the evening sun", "in front of a setting sun"),
    "night": ("at night", "under the stars", "under the moon"),
    "room": ("in a room", "indoors", "on a wooden floor in a room"),
    "stage": ("on a stage", "on a stage in front of a curtain", "in the spotlight"),
    "sea_floor": ("under water", "at the bottom of the sea", "on the sea floor"),
    "clouds": ("above the clouds", "on the clouds", "in the sky on white clouds"),
    "moon": ("on the moon", "on the surface of the moon"),
    "city": ("in a city", "on a city street", "in front of tall buildings"),
}
BACKDROP_PHRASES_ZH: dict[Backdrop, tuple[str, ...]] = {
    "meadow": ("草地上", "绿色的草地上", "山坡前的草地上"),
    "beach": ("海滩上", "海边", "沙滩上"),
    "desert": ("沙漠里", "沙丘之间"),
    "snow": ("雪地上", "雪地里"),
    "sunset": ("夕阳下", "落日前"),
    "night": ("夜空下", "星空下", "月光下"),
    "room": ("房间里", "屋里", "房间的木地板上"),
    "stage": ("舞台上", "幕布前的舞台上", "聚光灯下"),
    "sea_floor": ("海底", "水下", "海底的沙地上"),
    "clouds": ("云端", "云层上", "白云上"),
    "moon": ("月球上", "月球表面"),
    "city": ("城市里", "城市街道上", "高楼前"),
}
