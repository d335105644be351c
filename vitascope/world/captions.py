"""What a person would write about a scene, in English and Chinese, short or long, in many phrasings."""

from __future__ import annotations

import numpy as np

from vitascope.world.scene import Actor, Scene
from vitascope.world.words import (
    CAMERAS_EN,
    CAMERAS_ZH,
    COLOURS_ZH,
    LANGUAGES,
    NOUNS,
    SETTINGS_EN,
    SETTINGS_ZH,
    TRAVEL_EN,
    TRAVEL_ZH,
    Language,
)

OPENINGS_EN = ("", "", "", "a video of ", "a clip of ", "an animation of ")
OPENINGS_ZH = ("", "", "", "视频中，", "画面中，", "动画：")
STILLS_EN = ("", "", "a picture of ", "an image of ", "a photo of ")
STILLS_ZH = ("", "", "一张图片：", "图中有", "画面中有")


def describe(scene: Scene, language: Language, draw: np.random.Generator, *, is_image: bool = False) -> str:
    """One caption: every actor with its colour, for a video every motion too; the setting and the camera sometimes."""
    write = _describe_en if language == "en" else _describe_zh
    return write(scene, draw, is_image)


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


def _describe_en(scene: Scene, draw: np.random.Generator, is_image: bool) -> str:
    where = _pick(draw, SETTINGS_EN[scene.place])
    things = [_thing_en(actor) for actor in scene.actors]
    if is_image:
        named = " and ".join(things)
        return _pick(draw, STILLS_EN) + (f"{named} {where}" if draw.random() < 0.8 else named)
    opening = _pick(draw, OPENINGS_EN)
    doing = [_motion_en(actor, draw, participle=bool(opening)) for actor in scene.actors]
    joiner = _pick(draw, (" and ", ", and ") if opening else (" and ", ", and ", " while "))
    text = joiner.join(f"{thing} {action}" for thing, action in zip(things, doing, strict=True))
    if draw.random() < 0.7:
        text = f"{where}, {text}" if draw.random() < 0.2 and not opening else f"{text} {where}"
    text = opening + text
    if draw.random() < 0.45:
        text += f", {_pick(draw, CAMERAS_EN[scene.shot])}"
    style = draw.random()
    return text[0].upper() + text[1:] + "." if style < 0.4 else text


def _thing_en(actor: Actor) -> str:
    article = "an" if actor.colour == "orange" else "a"
    return f"{article} {actor.colour} {NOUNS[actor.kind].en}"


def _motion_en(actor: Actor, draw: np.random.Generator, participle: bool) -> str:
    """The predicate, as a verb in the present ("rolls to the right") or a participle ("rolling to the right")."""
    travel = _pick(draw, TRAVEL_EN[actor.kind])
    choices = {
        "right": (f"{travel} to the right", f"{travel} from left to right", "moves right"),
        "left": (f"{travel} to the left", f"{travel} from right to left", "moves left"),
        "jump": ("bounces up and down",)
        if actor.kind == "ball"
        else ("jumps up and down", "jumps", "hops up and down"),
        "fall": ("falls from above", "drops from above and bounces", "falls down and bounces"),
        "spin": ("spins in place", "turns around on the spot", "rotates in place"),
        "circle": (f"{travel} in a circle", "moves in circles", "circles around"),
        "sway": ("sways from side to side", "swings from side to side", "rocks left and right"),
        "approach": ("comes closer", f"{travel} towards the camera", "comes towards the camera"),
    }[actor.motion]
    phrase = _pick(draw, choices)
    if not participle:
        return phrase
    verb, _, rest = phrase.partition(" ")
    rest = rest.replace(" and bounces", " and bouncing")
    return f"{_participle(verb)} {rest}".strip()


def _participle(verb: str) -> str:
    """The -ing form of a verb in the third person: rolls, waddles, moves, hops, swings, marches."""
    stem = verb[:-2] if verb.endswith("ches") else verb[:-1]
    if stem in ("hop", "drop", "spin"):
        stem += stem[-1]
    return (stem[:-1] if stem.endswith("e") else stem) + "ing"


def _describe_zh(scene: Scene, draw: np.random.Generator, is_image: bool) -> str:
    where = _pick(draw, SETTINGS_ZH[scene.place])
    things = [_thing_zh(actor, draw) for actor in scene.actors]
    if is_image:
        named = "和".join(things)
        opening = _pick(draw, STILLS_ZH)
        if draw.random() < 0.2:
            return opening + named
        if draw.random() < 0.5:
            return opening.removesuffix("有") + f"{where}有{named}"
        return opening + f"{where}的{named}"
    text = "，".join(f"{thing}{_motion_zh(actor, draw)}" for thing, actor in zip(things, scene.actors, strict=True))
    crossing = len(scene.actors) == 1 and scene.actors[0].motion in ("right", "left")
    if crossing and draw.random() < 0.3:
        actor = scene.actors[0]
        side = "向右" if actor.motion == "right" else "向左"
        ground = _pick(draw, SETTINGS_ZH[scene.place][:1]).rstrip("上里中")
        text = f"{things[0]}{side}{_pick(draw, TRAVEL_ZH[actor.kind])}过{ground}"
    elif draw.random() < 0.7:
        prefix = "在" + where
        text = f"{prefix}，{text}" if draw.random() < 0.5 else f"{where}，{text}"
    text = _pick(draw, OPENINGS_ZH) + text
    if draw.random() < 0.45:
        text += f"，{_pick(draw, CAMERAS_ZH[scene.shot])}"
    return text + "。" if draw.random() < 0.4 else text


def _thing_zh(actor: Actor, draw: np.random.Generator) -> str:
    noun = NOUNS[actor.kind]
    return f"一{noun.measure}{_pick(draw, COLOURS_ZH[actor.colour])}{noun.zh}"


def _motion_zh(actor: Actor, draw: np.random.Generator) -> str:
    travel = _pick(draw, TRAVEL_ZH[actor.kind])
    choices = {
        "right": (f"向右{travel}动" if travel in "滚滑" else "向右走", f"从左向右{travel}", "向右移动"),
        "left": (f"向左{travel}动" if travel in "滚滑" else "向左走", f"从右向左{travel}", "向左移动"),
        "jump": ("上下弹跳", "不停地弹跳") if actor.kind == "ball" else ("上下跳动", "不停地跳", "蹦蹦跳跳"),
        "fall": ("从上面掉下来", "从空中落下", "从高处落下并弹起"),
        "spin": ("原地旋转", "在原地转圈", "原地打转"),
        "circle": ("绕圈移动", f"绕着圈{travel}", "转着圈移动"),
        "sway": ("左右摇摆", "左右摇晃", "来回摆动"),
        "approach": ("向镜头靠近", f"朝镜头{travel}来", "越来越近"),
    }[actor.motion]
    return _pick(draw, choices)


def _pick(draw: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(draw.integers(len(choices)))]
