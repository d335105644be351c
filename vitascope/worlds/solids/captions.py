"""What a person would write about a scene, in English and Chinese, short or detailed, in many phrasings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from vitascope.worlds.solids.phrases import DOING_EN, DOING_ZH, TRAVEL_EN, TRAVEL_ZH, conjugate
from vitascope.worlds.solids.scene import Act, Actor, Scene, Shot
from vitascope.worlds.solids.words import (
    ACCESSORIES_SAID,
    CAMERAS_SAID,
    COLOURS_ZH,
    COUNTS,
    EXPRESSIONS_ZH,
    INDOORS,
    LANGUAGES,
    MATERIALS_SAID,
    NOUNS,
    PASSIVE,
    SETTINGS,
    STYLES_SAID,
    TIMES_SAID,
    WEATHERS_SAID,
    Language,
)

OPENINGS_EN = ("", "", "", "a video of ", "a clip of ", "an animation of ")
OPENINGS_ZH = ("", "", "", "视频中，", "画面中，", "动画：")
STILLS_EN = ("", "", "a picture of ", "an image of ", "a photo of ")
STILLS_ZH = ("", "", "一张图片：", "图中有", "画面中有")
PHOTO = "a photo of "  # of what looks like a photo
MOONLIT = ("under the moon", "月光下")  # where one would see it
IN_FRONT = ("glasses", "bow")  # accessories that aren't seen from behind
CUTS_EN = (". Cut to: ", ". Then ", ". Next shot: ")
CUTS_ZH = ("。切到：", "。然后，", "。下一个镜头：")


class Telling(NamedTuple):
    """How much a caption says: shares of what isn't needed to know what happens.

    Whatever isn't as anybody would take it to be is always said: night, weather, a style, a camera that moves.
    A model learns so that what a prompt leaves out is ordinary.
    """

    looks: float  # materials, clothes, faces
    place: float
    day: float  # that it is day
    still: float  # that the camera doesn't move


SHORT = Telling(looks=0.3, place=0.4, day=0.2, still=0.0)
PLAIN = Telling(looks=0.7, place=0.75, day=0.6, still=0.4)
DETAILED = Telling(1.0, 1.0, 1.0, 1.0)


class Group(NamedTuple):
    """Actors of whom one thing is said: alike, and doing the same."""

    actor: Actor
    act: Act
    count: int


def describe(
    scene: Scene,
    language: Language,
    draw: np.random.Generator,
    *,
    is_image: bool = False,
    telling: Telling | None = None,
) -> str:
    """One caption: every actor with its colour, for a video what each does; of the rest now less, now more.

    In black and white nothing has a colour. An image is of the first shot. How much is told is drawn, if not given.
    """
    if telling is None:
        telling = (SHORT, PLAIN, PLAIN, DETAILED)[int(draw.integers(4))]
    if is_image:
        return (_image_en if language == "en" else _image_zh)(scene, telling, draw)
    return (_video_en if language == "en" else _video_zh)(scene, telling, draw)


def captions(scene: Scene, *, is_image: bool, num_per_language: int = 4) -> dict[str, list[str]]:
    """Different captions of a scene in each language; which ones is decided by the scene's seed."""
    drawn: dict[str, list[str]] = {}
    for index, language in enumerate(LANGUAGES):
        draw = np.random.default_rng([scene.seed, 7, index])
        found: dict[str, None] = {}
        for _ in range(20 * num_per_language):
            found[describe(scene, language, draw, is_image=is_image)] = None
            if len(found) == num_per_language:
                break
        drawn[language] = list(found)
    return drawn


class Told(NamedTuple):
    """A clip told shot by shot: what holds for all of it, which may be nothing, and what each shot shows."""

    text: str
    shots: list[str]


def storyboards(scene: Scene, num_per_language: int = 4) -> dict[str, list[Told]]:
    """Different ways to tell a scene shot by shot in each language; which ones is decided by the scene's seed.

    Half of the time what holds for all shots is told once, and they speak of known actors; else each stands alone.
    """
    told: dict[str, list[Told]] = {}
    for index, language in enumerate(LANGUAGES):
        draw = np.random.default_rng([scene.seed, 8, index])
        told[language] = [_tell_shots(scene, language, draw) for _ in range(num_per_language)]
    return told


def _tell_shots(scene: Scene, language: Language, draw: np.random.Generator) -> Told:
    telling = (SHORT, PLAIN, PLAIN, DETAILED)[int(draw.integers(4))]
    if draw.random() < 0.5:
        alone = (replace(scene, shots=(shot,), cuts=()) for shot in scene.shots)
        return Told("", [describe(each, language, draw, telling=telling) for each in alone])
    common, shot_text = (_common_en, _shot_en) if language == "en" else (_common_zh, _shot_zh)
    known = {"known": True, "moved": True}
    texts = [shot_text(scene, shot, telling, draw, **known) for shot in scene.shots]
    return Told(common(scene, telling, draw), texts)


def groups(scene: Scene, shot: Shot) -> list[Group]:
    """Whom a caption speaks of in turn: alike actors that do the same are one, and partners are left to the others."""
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


def _video_en(scene: Scene, telling: Telling, draw: np.random.Generator) -> str:
    single = len(scene.shots) == 1
    opening = _pick(draw, OPENINGS_EN) if single else ""
    text = opening
    for number, shot in enumerate(scene.shots):
        text += _pick(draw, CUTS_EN) if number else ""
        moved = number == 0 or shot.place != scene.shots[number - 1].place
        text += _shot_en(scene, shot, telling, draw, known=number > 0, moved=moved, participle=bool(opening))
    text = _add(text, _pick(draw, STYLES_SAID["en"][scene.style]), ", ")
    return text[0].upper() + text[1:] + "." if not single or draw.random() < 0.4 else text


def _shot_en(
    scene: Scene,
    shot: Shot,
    telling: Telling,
    draw: np.random.Generator,
    *,
    known: bool,
    moved: bool,
    participle: bool = False,
) -> str:
    """A shot whose actors are `known` or new; if they have `moved`, it says where to, always of known ones."""
    looks = SHORT if known else telling
    clauses = [
        f"{_group_en(scene, group, looks, draw, known=known)} "
        f"{_doing_en(scene, group, draw, participle=participle, known=known)}"
        for group in groups(scene, shot)
    ]
    joiner = _pick(draw, (" and ", ", and ") if participle else (" and ", ", and ", " while "))
    text = joiner.join(clauses)
    if moved and _says(draw, 1.0 if known else telling.place):
        where = _pick(draw, SETTINGS["en"][shot.place])
        in_front = draw.random() < 0.2 and not participle and not known
        text = f"{where}, {text}" if in_front else f"{text} {where}"
    if not known:
        text = _add(text, _time(scene, "en", telling, draw), " ")
        text = _add(text, _pick(draw, WEATHERS_SAID["en"][scene.weather]), " ")
    if shot.camera != "still" or _says(draw, telling.still):
        text = _add(text, _pick(draw, CAMERAS_SAID["en"][shot.camera]), ", ")
    return text


def _image_en(scene: Scene, telling: Telling, draw: np.random.Generator) -> str:
    shot = scene.shots[0]
    openings = [opening for opening in STILLS_EN if opening != PHOTO or scene.style == "plain"]
    text = _pick(draw, openings) + _cast_en(scene, telling, draw)
    if _says(draw, telling.place):
        text += " " + _pick(draw, SETTINGS["en"][shot.place])
    return _in_air_en(text, scene, telling, draw)


def _common_en(scene: Scene, telling: Telling, draw: np.random.Generator) -> str:
    """What all shots of a scene have in common."""
    return _in_air_en(_cast_en(scene, telling, draw), scene, telling, draw)


def _cast_en(scene: Scene, telling: Telling, draw: np.random.Generator) -> str:
    return _and([_thing_en(scene, actor, telling, draw, count) for actor, count in _everybody(scene)])


def _in_air_en(text: str, scene: Scene, telling: Telling, draw: np.random.Generator) -> str:
    """A text and the time of day, the weather and the style."""
    text = _add(text, _time(scene, "en", telling, draw), " ")
    text = _add(text, _pick(draw, WEATHERS_SAID["en"][scene.weather]), " ")
    text = _add(text, _pick(draw, STYLES_SAID["en"][scene.style]), ", ")
    return text


def _group_en(scene: Scene, group: Group, telling: Telling, draw: np.random.Generator, *, known: bool) -> str:
    if group.actor.kind == "domino":
        colour = "" if scene.style == "noir" else f" {group.actor.colour}"
        return f"{'the' if known else 'a'} row of {COUNTS['en'][group.count]}{colour} dominoes"
    return _thing_en(scene, group.actor, telling, draw, group.count, known=known)


def _thing_en(
    scene: Scene, actor: Actor, telling: Telling, draw: np.random.Generator, count: int = 1, *, known: bool = False
) -> str:
    noun, words = NOUNS[actor.kind], []
    faces = _shows_its_face(scene, actor)
    if actor.expression is not None and _says(draw, telling.looks) and faces:
        words.append(actor.expression)
    if scene.style != "noir":
        words.append(actor.colour)
    if actor.material != "plastic" and _says(draw, telling.looks):
        words.append(MATERIALS_SAID["en"][actor.material])
    words.append(noun.en if count == 1 else noun.plural)
    if count > 1:
        words.insert(0, f"the {COUNTS['en'][count]}" if known else COUNTS["en"][count])
    else:
        words.insert(0, "the" if known else "an" if words[0][0] in "aeiou" else "a")
    if actor.accessory is not None and _says(draw, telling.looks) and (faces or actor.accessory not in IN_FRONT):
        wears = _pick(draw, ("wearing", "with"))
        words.append(f"{wears} {_each(ACCESSORIES_SAID['en'][actor.accessory], count)}")
    return " ".join(words)


def _each(accessory: str, count: int) -> str:
    """A scarf; scarves, of several."""
    if count == 1 or not accessory.startswith("a "):
        return accessory
    plural = accessory.removeprefix("a ") + "s"
    return plural.replace("scarfs", "scarves")


def _doing_en(scene: Scene, group: Group, draw: np.random.Generator, *, participle: bool, known: bool) -> str:
    """The predicate: verbs in the present ("rolls", "roll" of several) or as participles ("rolling")."""
    row = group.actor.kind == "domino"
    form = "participle" if participle else "plural" if group.count > 1 and not row else "singular"
    travel = _pick(draw, TRAVEL_EN[group.actor.kind])
    template = _pick(draw, DOING_EN[_manner(group)])
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


def _video_zh(scene: Scene, telling: Telling, draw: np.random.Generator) -> str:
    single = len(scene.shots) == 1
    text = _pick(draw, OPENINGS_ZH) if single else ""
    for number, shot in enumerate(scene.shots):
        text += _pick(draw, CUTS_ZH) if number else ""
        moved = number == 0 or shot.place != scene.shots[number - 1].place
        text += _shot_zh(scene, shot, telling, draw, known=number > 0, moved=moved)
    text = _add(text, _pick(draw, STYLES_SAID["zh"][scene.style]), "，")
    return text + "。" if not single or draw.random() < 0.4 else text


def _shot_zh(scene: Scene, shot: Shot, telling: Telling, draw: np.random.Generator, *, known: bool, moved: bool) -> str:
    looks = SHORT if known else telling
    text = "，".join(
        _group_zh(scene, group, looks, draw, known=known) + _doing_zh(scene, group, draw, known=known)
        for group in groups(scene, shot)
    )
    if moved and _says(draw, 1.0 if known else telling.place):
        where = _pick(draw, SETTINGS["zh"][shot.place])
        text = f"在{where}，{text}" if draw.random() < 0.5 else f"{where}，{text}"
    if not known:
        for said in (_pick(draw, WEATHERS_SAID["zh"][scene.weather]), _time(scene, "zh", telling, draw)):
            text = f"{said}，{text}" if said else text
    if shot.camera != "still" or _says(draw, telling.still):
        text = _add(text, _pick(draw, CAMERAS_SAID["zh"][shot.camera]), "，")
    return text


def _image_zh(scene: Scene, telling: Telling, draw: np.random.Generator) -> str:
    opening = _pick(draw, STILLS_ZH)
    text = _cast_zh(scene, telling, draw)
    if _says(draw, telling.place):
        where = _pick(draw, SETTINGS["zh"][scene.shots[0].place])
        if draw.random() < 0.5:
            opening, text = opening.replace("有", "，"), f"{where}有{text}"
        else:
            text = f"{where}的{text}"
    return _in_air_zh(opening + text, scene, telling, draw)


def _common_zh(scene: Scene, telling: Telling, draw: np.random.Generator) -> str:
    return _in_air_zh(_cast_zh(scene, telling, draw), scene, telling, draw)


def _cast_zh(scene: Scene, telling: Telling, draw: np.random.Generator) -> str:
    *things, last = [_thing_zh(scene, actor, telling, draw, count) for actor, count in _everybody(scene)]
    return "、".join(things) + ("和" if things else "") + last


def _in_air_zh(text: str, scene: Scene, telling: Telling, draw: np.random.Generator) -> str:
    for said in (_time(scene, "zh", telling, draw), _pick(draw, WEATHERS_SAID["zh"][scene.weather])):
        text = _add(text, said, "，")
    text = _add(text, _pick(draw, STYLES_SAID["zh"][scene.style]), "，")
    return text


def _group_zh(scene: Scene, group: Group, telling: Telling, draw: np.random.Generator, *, known: bool) -> str:
    thing = _thing_zh(scene, group.actor, telling, draw, group.count, known=known)
    return f"一排{thing}" if group.actor.kind == "domino" and not known else thing


def _thing_zh(
    scene: Scene, actor: Actor, telling: Telling, draw: np.random.Generator, count: int = 1, *, known: bool = False
) -> str:
    noun = NOUNS[actor.kind]
    text = ("那" if known else "") + ("" if known and count == 1 else COUNTS["zh"][count]) + noun.measure
    faces = _shows_its_face(scene, actor)
    if actor.accessory is not None and _says(draw, telling.looks) and (faces or actor.accessory not in IN_FRONT):
        text += ACCESSORIES_SAID["zh"][actor.accessory]
    if actor.expression is not None and _says(draw, telling.looks) and faces:
        text += EXPRESSIONS_ZH[actor.expression]
    material = MATERIALS_SAID["zh"][actor.material] if _says(draw, telling.looks) else ""
    if scene.style != "noir":
        long, short = COLOURS_ZH[actor.colour]
        # 红木 would be another wood, and one 的 after another is clumsy
        text += long if material else short if text.endswith("的") else _pick(draw, (long, short))
    return text + material + noun.zh


def _doing_zh(scene: Scene, group: Group, draw: np.random.Generator, *, known: bool) -> str:
    travel = _pick(draw, TRAVEL_ZH[group.actor.kind])
    template = _pick(draw, DOING_ZH[_manner(group)])
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
    """The key of what is said of an act: its motion, and for a ball its own way of doing it."""
    motion = group.act.motion
    return f"{motion} ball" if group.actor.kind == "ball" and f"{motion} ball" in DOING_EN else motion


def _time(scene: Scene, language: Language, telling: Telling, draw: np.random.Generator) -> str:
    if scene.time == "day" and not _says(draw, telling.day):
        return ""
    hidden = scene.weather == "fog" or any(shot.place in INDOORS for shot in scene.shots)
    return _pick(draw, [said for said in TIMES_SAID[language][scene.time] if not (hidden and said in MOONLIT)])


def _shows_its_face(scene: Scene, actor: Actor) -> bool:
    """Whether it does anything but go away."""
    acts = [act for shot in scene.shots for other, act in zip(scene.actors, shot.acts, strict=True) if other == actor]
    return any(act.motion != "leave" for act in acts)


def _everybody(scene: Scene) -> list[tuple[Actor, int]]:
    """All actors of a scene, each kind of them once, with how many they are."""
    counts: dict[Actor, int] = {}
    for actor in scene.actors:
        counts[actor] = counts.get(actor, 0) + 1
    return list(counts.items())


def _and(things: Sequence[str]) -> str:
    return " and ".join(things) if len(things) < 3 else ", ".join(things[:-1]) + " and " + things[-1]


def _add(text: str, more: str, joiner: str) -> str:
    return f"{text}{joiner}{more}" if more else text


def _says(draw: np.random.Generator, share: float) -> bool:
    return bool(draw.random() < share)


def _pick(draw: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(draw.integers(len(choices)))]
