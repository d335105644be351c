"""Chinese captions of scenes and shots."""

from __future__ import annotations

import numpy as np

from vitascope.worlds.language import CAMERA_PHRASES, IMAGE_OPENINGS, VIDEO_OPENINGS
from vitascope.worlds.solids.clauses import (
    IN_FRONT,
    SHORT,
    Group,
    Verbosity,
    add,
    counted_actors,
    groups,
    manner,
    mentions,
    pick,
    shows_face,
    time_phrase,
)
from vitascope.worlds.solids.phrases import MOTION_PHRASES_ZH, TRAVEL_VERBS_ZH
from vitascope.worlds.solids.scene import Actor, Scene, Shot
from vitascope.worlds.solids.words import (
    ACCESSORY_PHRASES,
    COLOURS_ZH,
    COUNTS,
    EXPRESSIONS_ZH,
    MATERIAL_PHRASES,
    NOUNS,
    SETTING_PHRASES,
    STYLE_PHRASES,
    WEATHER_PHRASES,
)

CUTS_ZH = ("。切到：", "。然后，", "。下一个镜头：")


def video_zh(scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    """Chinese caption of a video, shot by shot."""
    single = len(scene.shots) == 1
    text = pick(draw, VIDEO_OPENINGS["zh"]) if single else ""
    for number, shot in enumerate(scene.shots):
        text += pick(draw, CUTS_ZH) if number else ""
        moved = number == 0 or shot.place != scene.shots[number - 1].place
        text += shot_zh(scene, shot, verbosity, draw, known=number > 0, moved=moved)
    text = add(text, pick(draw, STYLE_PHRASES["zh"][scene.style]), "，")
    return text + "。" if not single or draw.random() < 0.4 else text


def shot_zh(
    scene: Scene, shot: Shot, verbosity: Verbosity, draw: np.random.Generator, *, known: bool, moved: bool
) -> str:
    """Text of a shot. `known` actors were introduced before; `moved` marks a new setting, which is then named."""
    details = SHORT if known else verbosity
    text = "，".join(
        _group_zh(scene, group, details, draw, known=known) + _doing_zh(scene, group, draw, known=known)
        for group in groups(scene, shot)
    )
    if moved and mentions(draw, 1.0 if known else verbosity.place):
        where = pick(draw, SETTING_PHRASES["zh"][shot.place])
        text = f"在{where}，{text}" if draw.random() < 0.5 else f"{where}，{text}"
    if not known:
        for phrase in (pick(draw, WEATHER_PHRASES["zh"][scene.weather]), time_phrase(scene, "zh", verbosity, draw)):
            text = f"{phrase}，{text}" if phrase else text
    if shot.camera != "still" or mentions(draw, verbosity.still):
        text = add(text, pick(draw, CAMERA_PHRASES["zh"][shot.camera]), "，")
    return text


def image_zh(scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    """Chinese caption of an image of the first shot."""
    opening = pick(draw, IMAGE_OPENINGS["zh"])
    text = _actors_zh(scene, verbosity, draw)
    if mentions(draw, verbosity.place):
        where = pick(draw, SETTING_PHRASES["zh"][scene.shots[0].place])
        if draw.random() < 0.5:
            opening, text = opening.replace("有", "，"), f"{where}有{text}"
        else:
            text = f"{where}的{text}"
    return _with_conditions_zh(opening + text, scene, verbosity, draw)


def common_zh(scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    """Text that holds for all shots of a scene."""
    return _with_conditions_zh(_actors_zh(scene, verbosity, draw), scene, verbosity, draw)


def _actors_zh(scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    *things, last = [_thing_zh(scene, actor, verbosity, draw, count) for actor, count in counted_actors(scene)]
    return "、".join(things) + ("和" if things else "") + last


def _with_conditions_zh(text: str, scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    for phrase in (time_phrase(scene, "zh", verbosity, draw), pick(draw, WEATHER_PHRASES["zh"][scene.weather])):
        text = add(text, phrase, "，")
    text = add(text, pick(draw, STYLE_PHRASES["zh"][scene.style]), "，")
    return text


def _group_zh(scene: Scene, group: Group, verbosity: Verbosity, draw: np.random.Generator, *, known: bool) -> str:
    thing = _thing_zh(scene, group.actor, verbosity, draw, group.count, known=known)
    return f"一排{thing}" if group.actor.kind == "domino" and not known else thing


def _thing_zh(
    scene: Scene, actor: Actor, verbosity: Verbosity, draw: np.random.Generator, count: int = 1, *, known: bool = False
) -> str:
    noun = NOUNS[actor.kind]
    text = ("那" if known else "") + ("" if known and count == 1 else COUNTS["zh"][count]) + noun.measure
    faces = shows_face(scene, actor)
    if (
        actor.accessory is not None
        and mentions(draw, verbosity.appearance)
        and (faces or actor.accessory not in IN_FRONT)
    ):
        text += ACCESSORY_PHRASES["zh"][actor.accessory]
    if actor.expression is not None and mentions(draw, verbosity.appearance) and faces:
        text += EXPRESSIONS_ZH[actor.expression]
    material = MATERIAL_PHRASES["zh"][actor.material] if mentions(draw, verbosity.appearance) else ""
    if scene.style != "noir":
        long, short = COLOURS_ZH[actor.colour]
        # 红木 is a kind of wood (mahogany), and repeated 的 is clumsy
        text += long if material else short if text.endswith("的") else pick(draw, (long, short))
    return text + material + noun.zh


def _doing_zh(scene: Scene, group: Group, draw: np.random.Generator, *, known: bool) -> str:
    travel = pick(draw, TRAVEL_VERBS_ZH[group.actor.kind])
    template = pick(draw, MOTION_PHRASES_ZH[manner(group)])
    if "{partner}" in template:
        assert group.act.partner is not None
        template = template.replace(
            "{partner}", _thing_zh(scene, scene.actors[group.act.partner], SHORT, draw, known=known)
        )
    if "{gift}" in template:
        template = template.replace("{gift}", _thing_zh(scene, scene.actors[2], SHORT, draw, known=known))
    return template.replace("{travels}", "走" if travel == "走" else travel + "动").replace("{travel}", travel)
