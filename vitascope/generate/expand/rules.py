"""Rules that expand short prompts, in the wording of the captions that the bundled model was trained on.

A rule adds a colour, a motion, a place, a time of day or a camera move where a prompt leaves it open. The prompt itself
stays word for word. A topic that any word of the prompt may refer to counts as covered, and nothing is added to it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np

from vitascope.generate.requests import Storyboard
from vitascope.model.text import check_prompt, shot_prompt
from vitascope.worlds.language import CAMERA_PHRASES, LANGUAGES, CameraMove, Language
from vitascope.worlds.solids.phrases import (
    MOTION_PHRASES_EN,
    MOTION_PHRASES_ZH,
    TRAVEL_VERBS_EN,
    TRAVEL_VERBS_ZH,
    conjugate,
)
from vitascope.worlds.solids.words import (
    CHARACTERS,
    COLOURS,
    COLOURS_ZH,
    EXPRESSIONS,
    EXPRESSIONS_ZH,
    KINDS,
    MATERIAL_PHRASES,
    NOUNS,
    OBJECTS,
    SETTING_PHRASES,
    SETTINGS,
    STYLE_PHRASES,
    TIME_PHRASES,
    WEATHER_PHRASES,
    Kind,
    Motion,
)

Name = TypeVar("Name")
Topic = Literal["colour", "motion", "place", "time", "camera"]

MAX_LENGTH: dict[Language, int] = {"en": 25, "zh": 50}  # words, or characters, of a short prompt
CAMERAS: tuple[CameraMove, ...] = ("still", "zoom_in", "pan_left", "pan_right")  # these suit every motion
MOTIONS: tuple[Motion, ...] = ("right", "left", "jump", "spin", "sway")

# Words that may refer to a topic; where one is found, the topic is covered.
_HINTS: dict[Topic, str] = {
    "colour": rf"\b({'|'.join(COLOURS)}|colou?r\w*|black|gr[ae]y|brown|gold\w*|silver\w*|monochrome|noir|pastel|sketch|"
    r"drawing)\b|[色红绿蓝黄紫橙白粉黑灰棕褐金银]|素描|铅笔",
    "motion": r"(?!)",  # none: a motion is added only to prompts that the vocabulary covers entirely
    "place": r"\b(in|on|at|inside|outside|into|onto|under\w*|above|over|through|across|along|among|around|near|beside|"
    r"behind|between|from|by|past|where|here|there|indoors|outdoors|home|space)\b"
    "|[上下里中内外边旁间处园家城市场山林原村室房厨街路桥水空海河湖天地岸滩沙雪草森岛楼]",
    "time": r"\b(sun\w*|moon\w*|night\w*|morning|evening|noon|afternoon|dawn|dusk|twilight|midnight|dark\w*|light\w*|"
    r"bright\w*|day\w*|star\w*|lamp\w*|sky|cloud\w*|storm\w*|rain\w*|snow\w*|fog\w*|mist\w*)\b"
    "|[日月夜晚早晨午昏光暗亮星灯天雨雪雾云]",
    "camera": r"\b(camera|shots?|zoom\w*|pans?|panning|tilt\w*|dolly|close-?up|view\w*|angle|tracking|aerial|drone)\b"
    "|镜头|特写|拍|画面|视角|推近|拉远",
}
_NO_PLACES = (
    *("in place", "on the spot", "in a circle", "in circles", "in a chain", "from above", "from left to right"),
    *("from right to left", "from side to side", "from a rod", "into the distance", "at the camera", "one by one"),
    *("上下", "左右", "从上面", "从空中", "从高处", "原地", "走路", "跑步", "远处", "不停地", "慢慢地"),
)
_SEVERAL_SENTENCES = re.compile(
    r"[.!?。！？]\s*\S|\bthen\b|\bcut to\b|\bnext shot\b|然后|切到|接着|下一个镜头", re.IGNORECASE
)
_COLOURED_EN = re.compile(  # "a cat jumps" and "a cat with a hat", but not "a cat flap"
    rf"\b(an?) ({'|'.join(NOUNS[kind].en for kind in KINDS)})"
    r"(?=$|[,.]| (?:is|with|wearing|and|in|on|at|\w+s|\w+ing)\b)",
    re.IGNORECASE,
)
_COLOURED_ZH = re.compile(
    rf"一({'|'.join(NOUNS[kind].measure + NOUNS[kind].zh for kind in KINDS)})(?=$|[，。在从向和正跳走跑滚滑转站左原])"
)


class Additions(NamedTuple):
    """Text to add on each topic; empty adds nothing."""

    colour: str
    motion: str
    place: str
    time: str
    camera: str


def expand(prompt: str, seed: int, *, has_pictures: bool = False, is_image: bool = False) -> str:
    """The expanded prompt; the same seed adds the same text. Long prompts and several sentences stay unchanged.

    With pictures given, only a camera move is added, since they show the rest. An image gets no motion and no camera
    move.

    Raises:
        PromptError: an empty prompt, or one with too many characters.
    """
    prompt = check_prompt(prompt)
    closed: set[Topic] = {"colour", "motion", "place", "time"} if has_pictures else set()
    return _expanded(prompt, prompt, seed, {*closed, "motion", "camera"} if is_image else closed)


def expand_storyboard(storyboard: Storyboard, seed: int) -> Storyboard:
    """The storyboard with expanded texts: every shot gets the same place and time, where no shot names them.

    Colours and motions are never added, since a character must look the same in every shot. With images given, only a
    camera move is added.
    """
    everything = " ".join([storyboard.text, *(shot.text for shot in storyboard.shots)])
    shots = []
    for shot in storyboard.shots:
        closed: set[Topic] = {"colour", "motion", *(("place", "time") if list(storyboard.footage()) else ())}
        if not _is_open("camera", shot_prompt(storyboard.text, shot.text)):
            closed.add("camera")
        text = _expanded(check_prompt(shot.text), everything, seed, closed)
        shots.append(shot.replaced(text=text))
    return storyboard.replaced(shots=tuple(shots))


def _expanded(text: str, everything: str, seed: int, closed: Collection[Topic]) -> str:
    """The text with additions on topics that are not in `closed` and not covered by `everything`."""
    language: Language = "zh" if re.search(r"[\u3400-\u9fff]", text) else "en"
    length = len(text) if language == "zh" else len(text.split())
    if _SEVERAL_SENTENCES.search(text) or length > MAX_LENGTH[language]:
        return text
    body = text.rstrip(".。")
    drawn = _draw(language, seed)
    additions = Additions(
        *(
            "" if topic in closed or not _is_open(topic, everything) else said
            for topic, said in zip(get_args(Topic), drawn, strict=True)
        )
    )
    return (_english if language == "en" else _chinese)(body, additions) + text[len(body) :]


def _is_open(topic: Topic, text: str) -> bool:
    """True if no word of the text may refer to a topic."""
    rest = text.lower()
    for phrase in _phrases_of_other_topics(topic):
        rest = rest.replace(phrase, " ")
    return re.search(_HINTS[topic], rest) is None


def _phrases_of_other_topics(topic: Topic) -> list[str]:
    """Phrases on other topics that could be mistaken for this one, the longest first."""
    tables: list[Mapping[Any, tuple[str, ...]]] = []
    for language in LANGUAGES:
        if topic == "place":
            tables += [
                TIME_PHRASES[language],
                WEATHER_PHRASES[language],
                STYLE_PHRASES[language],
                CAMERA_PHRASES[language],
            ]
        elif topic == "time":
            tables.append(SETTING_PHRASES[language])
    phrases = {phrase for table in tables for said in table.values() for phrase in said if phrase}
    phrases |= {name for kind in KINDS for name in (NOUNS[kind].en, NOUNS[kind].zh)}
    return sorted(phrases | set(_NO_PLACES if topic == "place" else ()), key=len, reverse=True)


def _draw(language: Language, seed: int) -> Additions:
    """Additions drawn with a seed; both languages draw the same place."""
    draw = np.random.default_rng(seed)

    def pick(names: Sequence[Name]) -> Name:  # one draw for any number of names: the languages have different numbers
        return names[int(draw.integers(1 << 16)) % len(names)]

    colour, place, camera = pick(COLOURS), pick(SETTINGS), pick(CAMERAS)
    return Additions(
        colour=colour if language == "en" else COLOURS_ZH[colour][0],
        motion=pick(MOTIONS),
        place=pick(SETTING_PHRASES[language][place]),
        time=pick([said for said in TIME_PHRASES[language]["day"] if said]),
        camera=pick(CAMERA_PHRASES[language][camera]),
    )


def _english(text: str, additions: Additions) -> str:
    if additions.colour:
        n = "n" if additions.colour[0] in "aeiou" else ""
        text = _COLOURED_EN.sub(lambda match: f"{match[1][0]}{n} {additions.colour} {match[2]}", text, count=1)
    kind = _lone_subject(text, "en")
    if kind is not None and additions.motion:
        text = f"{text} {_doing_en(kind, additions.motion)}"
    where = " ".join(filter(None, (additions.place, additions.time)))
    text = f"{text}{',' if ',' in text else ''} {where}" if where else text
    return f"{text}, {additions.camera}" if additions.camera else text


def _chinese(text: str, additions: Additions) -> str:
    if additions.colour:
        text = _COLOURED_ZH.sub(lambda match: f"一{match[1][0]}{additions.colour}{match[1][1:]}", text, count=1)
    kind = _lone_subject(text, "zh")
    if kind is not None and additions.motion:
        text += _doing_zh(kind, additions.motion)
    return "，".join(filter(None, (additions.time, additions.place, text, additions.camera)))


def _lone_subject(text: str, language: Language) -> Kind | None:
    """The kind of the subject, if the text is one subject in the vocabulary's words without a motion; else None."""
    if language == "en":
        adjectives = "|".join([*COLOURS, *EXPRESSIONS, *filter(None, MATERIAL_PHRASES["en"].values())])
    else:
        adjectives = "|".join([*(name for names in COLOURS_ZH.values() for name in names), *EXPRESSIONS_ZH.values()])
    for kind in (*CHARACTERS, *OBJECTS):
        noun = NOUNS[kind]
        english = rf"(an?|the) (({adjectives}) )*{noun.en}"
        pattern = english if language == "en" else f"[一那]{noun.measure}({adjectives})*{noun.zh}"
        if re.fullmatch(pattern, text, re.IGNORECASE):
            return kind
    return None


def _doing_en(kind: Kind, motion: str) -> str:
    template, travel = MOTION_PHRASES_EN[_manner(kind, motion)][0], TRAVEL_VERBS_EN[kind][0]
    verbs = {"travel": travel}
    return re.sub(r"\{(\w+)\}", lambda match: conjugate(verbs.get(match[1], match[1]), "singular"), template)


def _doing_zh(kind: Kind, motion: str) -> str:
    template, travel = MOTION_PHRASES_ZH[_manner(kind, motion)][0], TRAVEL_VERBS_ZH[kind][0]
    return template.replace("{travels}", "走" if travel == "走" else travel + "动").replace("{travel}", travel)


def _manner(kind: Kind, motion: str) -> str:
    return f"{motion} ball" if kind == "ball" and f"{motion} ball" in MOTION_PHRASES_EN else motion
