"""English captions of scenes and shots."""

from __future__ import annotations

import re
from collections.abc import Sequence

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
from vitascope.worlds.solids.phrases import MOTION_PHRASES_EN, TRAVEL_VERBS_EN, conjugate
from vitascope.worlds.solids.scene import Actor, Scene, Shot
from vitascope.worlds.solids.words import (
    ACCESSORY_PHRASES,
    COUNTS,
    MATERIAL_PHRASES,
    NOUNS,
    SETTING_PHRASES,
    STYLE_PHRASES,
    WEATHER_PHRASES,
)

PHOTO = "a photo of "  # only for pictures in the plain style
CUTS_EN = (". Cut to: ", ". Then ", ". Next shot: ")


def video_en(scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    """English caption of a video, shot by shot."""
    single = len(scene.shots) == 1
    opening = pick(draw, VIDEO_OPENINGS["en"]) if single else ""
    text = opening
    for number, shot in enumerate(scene.shots):
        text += pick(draw, CUTS_EN) if number else ""
        moved = number == 0 or shot.place != scene.shots[number - 1].place
        text += shot_en(scene, shot, verbosity, draw, known=number > 0, moved=moved, participle=bool(opening))
    text = add(text, pick(draw, STYLE_PHRASES["en"][scene.style]), ", ")
    return text[0].upper() + text[1:] + "." if not single or draw.random() < 0.4 else text


def shot_en(
    scene: Scene,
    shot: Shot,
    verbosity: Verbosity,
    draw: np.random.Generator,
    *,
    known: bool,
    moved: bool,
    participle: bool = False,
) -> str:
    """Text of a shot. `known` actors were introduced before; `moved` marks a new setting, which is then named."""
    details = SHORT if known else verbosity
    clauses = [
        f"{_group_en(scene, group, details, draw, known=known)} "
        f"{_doing_en(scene, group, draw, participle=participle, known=known)}"
        for group in groups(scene, shot)
    ]
    joiner = pick(draw, (" and ", ", and ") if participle else (" and ", ", and ", " while "))
    text = joiner.join(clauses)
    if moved and mentions(draw, 1.0 if known else verbosity.place):
        where = pick(draw, SETTING_PHRASES["en"][shot.place])
        in_front = draw.random() < 0.2 and not participle and not known
        text = f"{where}, {text}" if in_front else f"{text} {where}"
    if not known:
        text = add(text, time_phrase(scene, "en", verbosity, draw), " ")
        text = add(text, pick(draw, WEATHER_PHRASES["en"][scene.weather]), " ")
    if shot.camera != "still" or mentions(draw, verbosity.still):
        text = add(text, pick(draw, CAMERA_PHRASES["en"][shot.camera]), ", ")
    return text


def image_en(scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    """English caption of an image of the first shot."""
    shot = scene.shots[0]
    openings = [opening for opening in IMAGE_OPENINGS["en"] if opening != PHOTO or scene.style == "plain"]
    text = pick(draw, openings) + _actors_en(scene, verbosity, draw)
    if mentions(draw, verbosity.place):
        text += " " + pick(draw, SETTING_PHRASES["en"][shot.place])
    return _with_conditions_en(text, scene, verbosity, draw)


def common_en(scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    """Text that holds for all shots of a scene."""
    return _with_conditions_en(_actors_en(scene, verbosity, draw), scene, verbosity, draw)


def _actors_en(scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    return _and([_thing_en(scene, actor, verbosity, draw, count) for actor, count in counted_actors(scene)])


def _with_conditions_en(text: str, scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    """A text followed by the time of day, the weather and the style."""
    text = add(text, time_phrase(scene, "en", verbosity, draw), " ")
    text = add(text, pick(draw, WEATHER_PHRASES["en"][scene.weather]), " ")
    text = add(text, pick(draw, STYLE_PHRASES["en"][scene.style]), ", ")
    return text


def _group_en(scene: Scene, group: Group, verbosity: Verbosity, draw: np.random.Generator, *, known: bool) -> str:
    if group.actor.kind == "domino":
        colour = "" if scene.style == "noir" else f" {group.actor.colour}"
        return f"{'the' if known else 'a'} row of {COUNTS['en'][group.count]}{colour} dominoes"
    return _thing_en(scene, group.actor, verbosity, draw, group.count, known=known)


def _thing_en(
    scene: Scene, actor: Actor, verbosity: Verbosity, draw: np.random.Generator, count: int = 1, *, known: bool = False
) -> str:
    noun, words = NOUNS[actor.kind], []
    faces = shows_face(scene, actor)
    if actor.expression is not None and mentions(draw, verbosity.appearance) and faces:
        words.append(actor.expression)
    if scene.style != "noir":
        words.append(actor.colour)
    if actor.material != "plastic" and mentions(draw, verbosity.appearance):
        words.append(MATERIAL_PHRASES["en"][actor.material])
    words.append(noun.en if count == 1 else noun.plural)
    if count > 1:
        words.insert(0, f"the {COUNTS['en'][count]}" if known else COUNTS["en"][count])
    else:
        words.insert(0, "the" if known else "an" if words[0][0] in "aeiou" else "a")
    if (
        actor.accessory is not None
        and mentions(draw, verbosity.appearance)
        and (faces or actor.accessory not in IN_FRONT)
    ):
        wears = pick(draw, ("wearing", "with"))
        words.append(f"{wears} {_each(ACCESSORY_PHRASES['en'][actor.accessory], count)}")
    return " ".join(words)


def _each(accessory: str, count: int) -> str:
    """An accessory in the singular, or in the plural for several actors."""
    if count == 1 or not accessory.startswith("a "):
        return accessory
    plural = accessory.removeprefix("a ") + "s"
    return plural.replace("scarfs", "scarves")


def _doing_en(scene: Scene, group: Group, draw: np.random.Generator, *, participle: bool, known: bool) -> str:
    """Predicate of a group, in the present tense ("rolls", "roll") or as a participle ("rolling")."""
    row = group.actor.kind == "domino"
    form = "participle" if participle else "plural" if group.count > 1 and not row else "singular"
    travel = pick(draw, TRAVEL_VERBS_EN[group.actor.kind])
    template = pick(draw, MOTION_PHRASES_EN[manner(group)])
    partner = group.act.partner

    def fill(match: re.Match[str]) -> str:
        word = match.group(1)
        if word == "partner":
            assert partner is not None
            return _thing_en(scene, scene.actors[partner], SHORT, draw, known=known)
        if word == "gift":
            return _thing_en(scene, scene.actors[2], SHORT, draw, known=known)
        return conjugate(travel if word == "travel" else word, form)

    return re.sub(r"\{(\w+)\}", fill, template)


def _and(things: Sequence[str]) -> str:
    return " and ".join(things) if len(things) < 3 else ", ".join(things[:-1]) + " and " + things[-1]
