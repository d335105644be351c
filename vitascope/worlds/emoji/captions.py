"""Captions of emoji scenes in English and Chinese: characters, counts, positions, motions and backdrop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vitascope.worlds.emoji.scene import Actor, Scene
from vitascope.worlds.emoji.words import BACKDROP_PHRASES_EN, BACKDROP_PHRASES_ZH, MOTION_PHRASES_EN, MOTION_PHRASES_ZH
from vitascope.worlds.language import CAMERA_PHRASES, IMAGE_OPENINGS, VIDEO_OPENINGS, Language, distinct_captions

NUMBERS_EN = {2: "two", 3: "three"}
NUMBERS_ZH = {2: "两", 3: "三"}
DOUBLED = {"hop", "drop", "spin"}


def captions(scene: Scene, *, is_image: bool, num_per_language: int = 4) -> dict[str, list[str]]:
    """Distinct captions of a scene in each language, determined by the scene's seed."""
    return distinct_captions(
        lambda language, draw: write_caption(scene, language, draw, is_image=is_image),
        (scene.seed, 13),
        num_per_language,
    )


def write_caption(scene: Scene, language: Language, draw: np.random.Generator, *, is_image: bool = False) -> str:
    """One caption: all characters and, for a video, their motions; sometimes positions, backdrop and camera."""
    if language == "en":
        return _still_en(scene, draw) if is_image else _video_en(scene, draw)
    return _still_zh(scene, draw) if is_image else _video_zh(scene, draw)


def _still_en(scene: Scene, draw: np.random.Generator) -> str:
    text = _pick(draw, IMAGE_OPENINGS["en"]) + _characters_en(scene, draw)
    if draw.random() < 0.85:
        text += f" {_pick(draw, BACKDROP_PHRASES_EN[scene.place])}"
    return _finished_en(text, draw)


def _video_en(scene: Scene, draw: np.random.Generator) -> str:
    where = _pick(draw, BACKDROP_PHRASES_EN[scene.place]) if draw.random() < 0.8 else ""
    style = draw.random()
    if len(scene.actors) == 1 or scene.is_group or style < 0.5:
        text = _doing_en(scene, draw)
        if where:
            text = (
                f"{where}, {text}"
                if draw.random() < 0.2 and not text.startswith(VIDEO_OPENINGS["en"][3:])
                else f"{text} {where}"
            )
    else:  # first the positions, then the motions
        text = f"{_characters_en(scene, draw)} {where}".strip()
        doing = [f"the {actor.character.name.en} {_verb_en(actor, draw)}" for actor in scene.actors]
        text += f"; {_list(doing, ' and ')}" if style < 0.75 else f", where {_list(doing, ' and ')}"
    if draw.random() < 0.45:
        text += f", {_pick(draw, CAMERA_PHRASES['en'][scene.shot])}"
    return _finished_en(text, draw)


def _doing_en(scene: Scene, draw: np.random.Generator) -> str:
    """All characters with their motions, as a sentence or, after an opening, as nouns with participles."""
    opening = _pick(draw, VIDEO_OPENINGS["en"])
    form = "participle" if opening else "plural" if scene.is_group else "singular"
    if scene.is_group:
        return f"{opening}{_characters_en(scene, draw)} {_verb_en(scene.actors[0], draw, form)}"
    parts = [f"{actor.character.name.a_en} {_verb_en(actor, draw, form)}" for actor in scene.actors]
    joiners = (" and ", ", and ") if opening or len(parts) > 2 else (" and ", ", and ", " while ")
    return opening + _list(parts, _pick(draw, joiners))


def _characters_en(scene: Scene, draw: np.random.Generator) -> str:
    """All characters; different ones often with their relative positions."""
    names = [actor.character.name for actor in scene.actors]
    if scene.is_group:
        return f"{NUMBERS_EN[len(names)]} {names[0].plural}"
    things = [name.a_en for name in names]
    choice = draw.random()
    if len(things) == 2 and choice < 0.3:
        return f"{things[0]} to the left of {things[1]}"
    if len(things) == 2 and choice < 0.6:
        return f"{things[1]} to the right of {things[0]}"
    if len(things) == 3 and choice < 0.35:
        return f"{things[1]} between {things[0]} on the left and {things[2]} on the right"
    if len(things) == 3 and choice < 0.6:
        return f"from left to right {_list(things, ' and ')}"
    return _list([things[number] for number in draw.permutation(len(things))], " and ")


def _verb_en(actor: Actor, draw: np.random.Generator, form: str = "singular") -> str:
    """Predicate of an actor: "hops up and down" (singular), "hop ..." (plural) or "hopping ..." (participle)."""
    verb, _, rest = _pick(draw, MOTION_PHRASES_EN[actor.motion]).partition(" ")
    if form == "participle":
        verb = (verb + verb[-1] if verb in DOUBLED else verb.removesuffix("e")) + "ing"
    elif form == "singular":
        verb += "es" if verb.endswith(("o", "ch")) else "s"
    rest = rest.replace("{it} {is}", "they are" if form == "plural" else "it is")
    return f"{verb} {rest}".strip()


def _finished_en(text: str, draw: np.random.Generator) -> str:
    return text[0].upper() + text[1:] + "." if draw.random() < 0.4 else text


def _still_zh(scene: Scene, draw: np.random.Generator) -> str:
    opening, where, who = (
        _pick(draw, IMAGE_OPENINGS["zh"]),
        _pick(draw, BACKDROP_PHRASES_ZH[scene.place]),
        _characters_zh(scene, draw),
    )
    is_sentence = "在" in who  # "a frog is to the left of a rocket" takes no "there is" before it
    if draw.random() < 0.2:
        text = (
            (opening.removesuffix("有") + "，" if opening.endswith("有") else opening) + who
            if is_sentence
            else opening + who
        )
    elif is_sentence:
        text = (opening.removesuffix("有") + "的" if opening.endswith("有") else opening) + f"{where}，{who}"
    elif draw.random() < 0.5:
        text = (opening.removesuffix("有") + "的" if opening.endswith("有") else opening) + f"{where}有{who}"
    else:
        text = opening + f"{where}的{who}"
    return _finished_zh(text, draw)


def _video_zh(scene: Scene, draw: np.random.Generator) -> str:
    names = [actor.character.name for actor in scene.actors]
    where = _pick(draw, BACKDROP_PHRASES_ZH[scene.place])
    if scene.is_group:
        text = f"{_characters_zh(scene, draw)}{_pick(draw, MOTION_PHRASES_ZH[scene.actors[0].motion])}"
    elif len(names) == 1 or draw.random() < 0.5:
        parts = [f"{actor.character.name.a_zh}{_pick(draw, MOTION_PHRASES_ZH[actor.motion])}" for actor in scene.actors]
        text = "，".join(parts)
    else:
        doing = [f"{actor.character.name.zh}{_pick(draw, MOTION_PHRASES_ZH[actor.motion])}" for actor in scene.actors]
        who = _characters_zh(scene, draw)
        text = f"{who if '在' in who else '有' + who}，{'，'.join(doing)}"
    if draw.random() < 0.75 and not text.startswith("有"):
        text = f"在{where}，{text}" if draw.random() < 0.5 else f"{where}，{text}"
    elif text.startswith("有"):
        text = where + text
    text = _pick(draw, VIDEO_OPENINGS["zh"]) + text
    if draw.random() < 0.45:
        text += f"，{_pick(draw, CAMERA_PHRASES['zh'][scene.shot])}"
    return _finished_zh(text, draw)


def _characters_zh(scene: Scene, draw: np.random.Generator) -> str:
    """All characters; text with 在 is a sentence about their relative positions."""
    names = [actor.character.name for actor in scene.actors]
    if scene.is_group:
        return f"{NUMBERS_ZH[len(names)]}{names[0].measure}{names[0].zh}"
    things = [name.a_zh for name in names]
    choice = draw.random()
    if len(things) == 2 and choice < 0.3:
        return f"{things[0]}在{things[1]}左边"
    if len(things) == 2 and choice < 0.6:
        return f"{things[1]}在{things[0]}右边"
    if len(things) == 3 and choice < 0.5:
        return f"{things[1]}在{things[0]}和{things[2]}之间"
    return _list([things[number] for number in draw.permutation(len(things))], "和", "、")


def _finished_zh(text: str, draw: np.random.Generator) -> str:
    return text + "。" if draw.random() < 0.4 else text


def _list(parts: Sequence[str], last: str, comma: str = ", ") -> str:
    """The parts joined as a list in a sentence."""
    return last.join([comma.join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def _pick(draw: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(draw.integers(len(choices)))]
