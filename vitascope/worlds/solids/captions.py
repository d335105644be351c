"""Captions of scenes in English and Chinese, from short to detailed, in many phrasings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from vitascope.worlds.language import (
    CAMERA_PHRASES,
    IMAGE_OPENINGS,
    LANGUAGES,
    VIDEO_OPENINGS,
    Language,
    ShotCaptions,
    distinct_captions,
)
from vitascope.worlds.solids.phrases import (
    MOTION_PHRASES_EN,
    MOTION_PHRASES_ZH,
    TRAVEL_VERBS_EN,
    TRAVEL_VERBS_ZH,
    conjugate,
)
from vitascope.worlds.solids.scene import Action, Actor, Scene, Shot
from vitascope.worlds.solids.words import (
    ACCESSORY_PHRASES,
    COLOURS_ZH,
    COUNTS,
    EXPRESSIONS_ZH,
    INDOORS,
    MATERIAL_PHRASES,
    NOUNS,
    PASSIVE,
    SETTING_PHRASES,
    STYLE_PHRASES,
    TIME_PHRASES,
    WEATHER_PHRASES,
)

PHOTO = "a photo of "  # only for pictures in the plain style
MOONLIT = ("under the moon", "月光下")  # only outdoors without fog
IN_FRONT = ("glasses", "bow")  # accessories that are invisible from behind
CUTS_EN = (". Cut to: ", ". Then ", ". Next shot: ")
CUTS_ZH = ("。切到：", "。然后，", "。下一个镜头：")


class Verbosity(NamedTuple):
    """Detail of a caption: the probability of mentioning each optional fact.

    Unusual facts are always mentioned: night, weather, a style, a moving camera. A model thus learns that facts a
    prompt omits are ordinary.
    """

    appearance: float  # materials, accessories, expressions
    place: float
    day: float  # daytime
    still: float  # a still camera


SHORT = Verbosity(appearance=0.3, place=0.4, day=0.2, still=0.0)
PLAIN = Verbosity(appearance=0.7, place=0.75, day=0.6, still=0.4)
DETAILED = Verbosity(1.0, 1.0, 1.0, 1.0)


class Group(NamedTuple):
    """Consecutive identical actors with the same motion, described by one clause."""

    actor: Actor
    act: Action
    count: int


def write_caption(
    scene: Scene,
    language: Language,
    draw: np.random.Generator,
    *,
    is_image: bool = False,
    verbosity: Verbosity | None = None,
) -> str:
    """One caption: every actor with its colour and, for a video, its motion; `verbosity` decides about the rest.

    Black-and-white scenes have no colours. An image shows the first shot. `verbosity` is drawn if None.
    """
    if verbosity is None:
        verbosity = (SHORT, PLAIN, PLAIN, DETAILED)[int(draw.integers(4))]
    if is_image:
        return (_image_en if language == "en" else _image_zh)(scene, verbosity, draw)
    return (_video_en if language == "en" else _video_zh)(scene, verbosity, draw)


def captions(scene: Scene, *, is_image: bool, num_per_language: int = 4) -> dict[str, list[str]]:
    """Distinct captions of a scene in each language, determined by the scene's seed."""
    return distinct_captions(
        lambda language, draw: write_caption(scene, language, draw, is_image=is_image),
        (scene.seed, 7),
        num_per_language,
    )


def storyboards(scene: Scene, num_per_language: int = 4) -> dict[str, list[ShotCaptions]]:
    """Captions of a scene shot by shot in each language, determined by the scene's seed.

    Half of them have a common text that introduces the actors, who are then known in every shot. In the others each
    shot's text stands alone.
    """
    boards: dict[str, list[ShotCaptions]] = {}
    for index, language in enumerate(LANGUAGES):
        draw = np.random.default_rng([scene.seed, 8, index])
        boards[language] = [_caption_shots(scene, language, draw) for _ in range(num_per_language)]
    return boards


def _caption_shots(scene: Scene, language: Language, draw: np.random.Generator) -> ShotCaptions:
    verbosity = (SHORT, PLAIN, PLAIN, DETAILED)[int(draw.integers(4))]
    if draw.random() < 0.5:
        alone = (replace(scene, shots=(shot,), cuts=()) for shot in scene.shots)
        return ShotCaptions("", [write_caption(each, language, draw, verbosity=verbosity) for each in alone])
    common, shot_text = (_common_en, _shot_en) if language == "en" else (_common_zh, _shot_zh)
    known = {"known": True, "moved": True}
    texts = [shot_text(scene, shot, verbosity, draw, **known) for shot in scene.shots]
    return ShotCaptions(common(scene, verbosity, draw), texts)


def groups(scene: Scene, shot: Shot) -> list[Group]:
    """Groups of actors in caption order; partners are left out, because the other actor's clause names them."""
    found: list[Group] = []
    partners = {act.partner for act in shot.acts}
    for number, (actor, act) in enumerate(zip(scene.actors, shot.acts, strict=True)):
        if act.motion in PASSIVE and (number in partners or act.partner is not None):
            continue
        if found and (found[-1].actor, found[-1].act.motion) == (actor, act.motion):
            found[-1] = found[-1]._replace(count=found[-1].count + 1)
        else:
            found.append(Group(actor, act, 1))
    return found


# ---------------------------------------------------------------- English


def _video_en(scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    single = len(scene.shots) == 1
    opening = _pick(draw, VIDEO_OPENINGS["en"]) if single else ""
    text = opening
    for number, shot in enumerate(scene.shots):
        text += _pick(draw, CUTS_EN) if number else ""
        moved = number == 0 or shot.place != scene.shots[number - 1].place
        text += _shot_en(scene, shot, verbosity, draw, known=number > 0, moved=moved, participle=bool(opening))
    text = _add(text, _pick(draw, STYLE_PHRASES["en"][scene.style]), ", ")
    return text[0].upper() + text[1:] + "." if not single or draw.random() < 0.4 else text


def _shot_en(
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
    joiner = _pick(draw, (" and ", ", and ") if participle else (" and ", ", and ", " while "))
    text = joiner.join(clauses)
    if moved and _mentions(draw, 1.0 if known else verbosity.place):
        where = _pick(draw, SETTING_PHRASES["en"][shot.place])
        in_front = draw.random() < 0.2 and not participle and not known
        text = f"{where}, {text}" if in_front else f"{text} {where}"
    if not known:
        text = _add(text, _time(scene, "en", verbosity, draw), " ")
        text = _add(text, _pick(draw, WEATHER_PHRASES["en"][scene.weather]), " ")
    if shot.camera != "still" or _mentions(draw, verbosity.still):
        text = _add(text, _pick(draw, CAMERA_PHRASES["en"][shot.camera]), ", ")
    return text


def _image_en(scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    shot = scene.shots[0]
    openings = [opening for opening in IMAGE_OPENINGS["en"] if opening != PHOTO or scene.style == "plain"]
    text = _pick(draw, openings) + _actors_en(scene, verbosity, draw)
    if _mentions(draw, verbosity.place):
        text += " " + _pick(draw, SETTING_PHRASES["en"][shot.place])
    return _with_conditions_en(text, scene, verbosity, draw)


def _common_en(scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    """Text that holds for all shots of a scene."""
    return _with_conditions_en(_actors_en(scene, verbosity, draw), scene, verbosity, draw)


def _actors_en(scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    return _and([_thing_en(scene, actor, verbosity, draw, count) for actor, count in _counted_actors(scene)])


def _with_conditions_en(text: str, scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    """A text followed by the time of day, the weather and the style."""
    text = _add(text, _time(scene, "en", verbosity, draw), " ")
    text = _add(text, _pick(draw, WEATHER_PHRASES["en"][scene.weather]), " ")
    text = _add(text, _pick(draw, STYLE_PHRASES["en"][scene.style]), ", ")
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
    faces = _shows_its_face(scene, actor)
    if actor.expression is not None and _mentions(draw, verbosity.appearance) and faces:
        words.append(actor.expression)
    if scene.style != "noir":
        words.append(actor.colour)
    if actor.material != "plastic" and _mentions(draw, verbosity.appearance):
        words.append(MATERIAL_PHRASES["en"][actor.material])
    words.append(noun.en if count == 1 else noun.plural)
    if count > 1:
        words.insert(0, f"the {COUNTS['en'][count]}" if known else COUNTS["en"][count])
    else:
        words.insert(0, "the" if known else "an" if words[0][0] in "aeiou" else "a")
    if (
        actor.accessory is not None
        and _mentions(draw, verbosity.appearance)
        and (faces or actor.accessory not in IN_FRONT)
    ):
        wears = _pick(draw, ("wearing", "with"))
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
    travel = _pick(draw, TRAVEL_VERBS_EN[group.actor.kind])
    template = _pick(draw, MOTION_PHRASES_EN[_manner(group)])
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


# ---------------------------------------------------------------- Chinese


def _video_zh(scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    single = len(scene.shots) == 1
    text = _pick(draw, VIDEO_OPENINGS["zh"]) if single else ""
    for number, shot in enumerate(scene.shots):
        text += _pick(draw, CUTS_ZH) if number else ""
        moved = number == 0 or shot.place != scene.shots[number - 1].place
        text += _shot_zh(scene, shot, verbosity, draw, known=number > 0, moved=moved)
    text = _add(text, _pick(draw, STYLE_PHRASES["zh"][scene.style]), "，")
    return text + "。" if not single or draw.random() < 0.4 else text


def _shot_zh(
    scene: Scene, shot: Shot, verbosity: Verbosity, draw: np.random.Generator, *, known: bool, moved: bool
) -> str:
    details = SHORT if known else verbosity
    text = "，".join(
        _group_zh(scene, group, details, draw, known=known) + _doing_zh(scene, group, draw, known=known)
        for group in groups(scene, shot)
    )
    if moved and _mentions(draw, 1.0 if known else verbosity.place):
        where = _pick(draw, SETTING_PHRASES["zh"][shot.place])
        text = f"在{where}，{text}" if draw.random() < 0.5 else f"{where}，{text}"
    if not known:
        for phrase in (_pick(draw, WEATHER_PHRASES["zh"][scene.weather]), _time(scene, "zh", verbosity, draw)):
            text = f"{phrase}，{text}" if phrase else text
    if shot.camera != "still" or _mentions(draw, verbosity.still):
        text = _add(text, _pick(draw, CAMERA_PHRASES["zh"][shot.camera]), "，")
    return text


def _image_zh(scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    opening = _pick(draw, IMAGE_OPENINGS["zh"])
    text = _actors_zh(scene, verbosity, draw)
    if _mentions(draw, verbosity.place):
        where = _pick(draw, SETTING_PHRASES["zh"][scene.shots[0].place])
        if draw.random() < 0.5:
            opening, text = opening.replace("有", "，"), f"{where}有{text}"
        else:
            text = f"{where}的{text}"
    return _with_conditions_zh(opening + text, scene, verbosity, draw)


def _common_zh(scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    return _with_conditions_zh(_actors_zh(scene, verbosity, draw), scene, verbosity, draw)


def _actors_zh(scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    *things, last = [_thing_zh(scene, actor, verbosity, draw, count) for actor, count in _counted_actors(scene)]
    return "、".join(things) + ("和" if things else "") + last


def _with_conditions_zh(text: str, scene: Scene, verbosity: Verbosity, draw: np.random.Generator) -> str:
    for phrase in (_time(scene, "zh", verbosity, draw), _pick(draw, WEATHER_PHRASES["zh"][scene.weather])):
        text = _add(text, phrase, "，")
    text = _add(text, _pick(draw, STYLE_PHRASES["zh"][scene.style]), "，")
    return text


def _group_zh(scene: Scene, group: Group, verbosity: Verbosity, draw: np.random.Generator, *, known: bool) -> str:
    thing = _thing_zh(scene, group.actor, verbosity, draw, group.count, known=known)
    return f"一排{thing}" if group.actor.kind == "domino" and not known else thing


def _thing_zh(
    scene: Scene, actor: Actor, verbosity: Verbosity, draw: np.random.Generator, count: int = 1, *, known: bool = False
) -> str:
    noun = NOUNS[actor.kind]
    text = ("那" if known else "") + ("" if known and count == 1 else COUNTS["zh"][count]) + noun.measure
    faces = _shows_its_face(scene, actor)
    if (
        actor.accessory is not None
        and _mentions(draw, verbosity.appearance)
        and (faces or actor.accessory not in IN_FRONT)
    ):
        text += ACCESSORY_PHRASES["zh"][actor.accessory]
    if actor.expression is not None and _mentions(draw, verbosity.appearance) and faces:
        text += EXPRESSIONS_ZH[actor.expression]
    material = MATERIAL_PHRASES["zh"][actor.material] if _mentions(draw, verbosity.appearance) else ""
    if scene.style != "noir":
        long, short = COLOURS_ZH[actor.colour]
        # 红木 is a kind of wood (mahogany), and repeated 的 is clumsy
        text += long if material else short if text.endswith("的") else _pick(draw, (long, short))
    return text + material + noun.zh


def _doing_zh(scene: Scene, group: Group, draw: np.random.Generator, *, known: bool) -> str:
    travel = _pick(draw, TRAVEL_VERBS_ZH[group.actor.kind])
    template = _pick(draw, MOTION_PHRASES_ZH[_manner(group)])
    if "{partner}" in template:
        assert group.act.partner is not None
        template = template.replace(
            "{partner}", _thing_zh(scene, scene.actors[group.act.partner], SHORT, draw, known=known)
        )
    if "{gift}" in template:
        template = template.replace("{gift}", _thing_zh(scene, scene.actors[2], SHORT, draw, known=known))
    return template.replace("{travels}", "走" if travel == "走" else travel + "动").replace("{travel}", travel)


# ---------------------------------------------------------------- both


def _manner(group: Group) -> str:
    """Key into the motion phrases: the motion, or its variant for a ball."""
    motion = group.act.motion
    return f"{motion} ball" if group.actor.kind == "ball" and f"{motion} ball" in MOTION_PHRASES_EN else motion


def _time(scene: Scene, language: Language, verbosity: Verbosity, draw: np.random.Generator) -> str:
    if scene.time == "day" and not _mentions(draw, verbosity.day):
        return ""
    hidden = scene.weather == "fog" or any(shot.place in INDOORS for shot in scene.shots)
    return _pick(draw, [phrase for phrase in TIME_PHRASES[language][scene.time] if not (hidden and phrase in MOONLIT)])


def _shows_its_face(scene: Scene, actor: Actor) -> bool:
    """True unless the actor only walks away from the camera."""
    acts = [act for shot in scene.shots for other, act in zip(scene.actors, shot.acts, strict=True) if other == actor]
    return any(act.motion != "leave" for act in acts)


def _counted_actors(scene: Scene) -> list[tuple[Actor, int]]:
    """Distinct actors of a scene with their counts."""
    counts: dict[Actor, int] = {}
    for actor in scene.actors:
        counts[actor] = counts.get(actor, 0) + 1
    return list(counts.items())


def _and(things: Sequence[str]) -> str:
    return " and ".join(things) if len(things) < 3 else ", ".join(things[:-1]) + " and " + things[-1]


def _add(text: str, more: str, joiner: str) -> str:
    return f"{text}{joiner}{more}" if more else text


def _mentions(draw: np.random.Generator, share: float) -> bool:
    return bool(draw.random() < share)


def _pick(draw: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(draw.integers(len(choices)))]
