"""Names of emoji in captions: countable English nouns, and Chinese nouns with measure words."""

from __future__ import annotations

import re
from typing import NamedTuple

from vitascope.worlds.emoji.corrections import CHINESE, ENGLISH, UNNAMED, UNNAMED_SUBGROUPS

# emojibase's subgroups (meta/groups.json)
FACES = range(0, 10)
CATS, MONKEYS, GESTURES, ROLES, FANTASY, ACTIVITIES, SPORTS = 12, 13, 24, 25, 26, 27, 28
ANIMALS, DRINKS = range(34, 40), 47

IRREGULAR = {
    "man": "men",
    "woman": "women",
    "person": "people",
    "child": "children",
    "mouse": "mice",
    "wolf": "wolves",
    "ox": "oxen",
    "goose": "geese",
    "tooth": "teeth",
    "foot": "feet",
    "fish": "fish",
    "deer": "deer",
    "bison": "bison",
    "squid": "squid",
    "shrimp": "shrimp",
    "elf": "elves",
    "superhero": "superheroes",
    "tornado": "tornadoes",
    "mosquito": "mosquitoes",
    "buffalo": "buffalo",
    "blowfish": "blowfish",
    "snowman": "snowmen",
    "merman": "mermen",
    "merperson": "merpeople",
}
# Measure words by the ending of the Chinese name; the first match counts
MEASURES = (
    (r"脸", "张"),
    (r"歌手|选手|手势|细菌|平底杯|心形叹号", "个"),
    (r"摩天轮|喷泉", "座"),
    (r"蜗牛|章鱼", "只"),
    (r"[牛象]|河马|骆驼", "头"),
    (r"马", "匹"),
    (r"[鱼蛇龙腿]|蠕虫|毛毛虫|河豚|舌头", "条"),
    (r"情书", "封"),
    (r"嘴|蜘蛛网", "张"),
    (r"^骨头|手指", "根"),
    (r"大便", "坨"),
    (r"雪花", "片"),
    (r"[云花]", "朵"),
    (r"心|牙齿|星星?|行星|水滴", "颗"),
    (r"降落伞", "顶"),
    (r"手表", "块"),
    (r"伞", "把"),
    (r"旗", "面"),
    (r"树", "棵"),
    (r"彩虹|闪电", "道"),
    (r"火箭", "枚"),
    (r"火焰", "团"),
    (r"火车|轻轨|列车|有轨电车", "列"),
    (r"车|小巴", "辆"),
    (r"[船艇轮舟]", "艘"),
    (r"飞机|直升机", "架"),
    (r"[手脚鞋]|拳头|手掌|耳朵|眼睛|手臂", "只"),
)
# Singular nouns after a preposition or verb that need an article: "a person in [a] tuxedo"
BARE = re.compile(
    r"\b(with|in|wearing|getting|taking|bouncing|rowing|raising|behind) (?=(tuxedo|veil|steamy|motorized|manual|white"
    r"|skullcap|headscarf|turban|haircut|massage|bath|ball|boat|hearing|thermometer|medical|monocle|head-bandage|open "
    r"mouth|wry|halo|raised|arrow|ribbon|popping|tear$|bed$|hand|beard|small|large|rain cloud|cloud$|face$|cap|flash))"
)
HAIR = re.compile(r"(man|woman|person): (red hair|curly hair|white hair|blond hair|bald|beard)")
WHO_ZH = {"男人": "男人", "女人": "女人", "成人": "人"}


class Name(NamedTuple):
    """English name with its plural, None for long phrases; Chinese name with its measure word."""

    en: str
    plural: str | None
    zh: str
    measure: str

    @property
    def a_en(self) -> str:
        """English name with the indefinite article."""
        return f"{article(self.en)} {self.en}"

    @property
    def a_zh(self) -> str:
        """Chinese name with the number one and the measure word."""
        return f"一{self.measure}{self.zh}"


def name_of(label_en: str, label_zh: str, subgroup: int) -> Name | None:
    """Name of the emoji with these labels, or None if no noun fits its picture."""
    if label_en in UNNAMED or subgroup in UNNAMED_SUBGROUPS:
        return None
    if re.search(r"o’clock|-thirty", label_en):
        label_en, label_zh = "clock", "时钟"
    zh = CHINESE.get(label_en) or _noun_zh(label_zh, label_en, subgroup)
    en = _noun_en(ENGLISH.get(label_en, label_en), subgroup)
    return None if en is None else Name(en, plural(en), zh, _measure(zh, subgroup))


def article(noun: str) -> str:
    """The article "a" or "an", chosen by sound."""
    return "an" if re.match(r"hourglass|(?!uni|one|eur|us)[aeiou]|OK", noun, re.IGNORECASE) else "a"


def plural(noun: str) -> str | None:
    """Plural of a noun, or None for phrases that continue after their noun ("man with a beard")."""
    if re.search(r" (with|in|of|on|and|behind|without|from|over|gesturing|rolling|pointing|blowing|[a-z]+ing) ", noun):
        return None
    *before, last = noun.split(" ")
    if before and last.endswith("ing"):
        return None  # "person bowing"
    return " ".join([*before, IRREGULAR.get(last) or _regular(last)])


def _regular(noun: str) -> str:
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return noun + "es"
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + "s"


def _noun_en(label: str, subgroup: int) -> str | None:
    hair = HAIR.fullmatch(label)
    if hair:
        who, what = hair.groups()
        return f"bald {who}" if what == "bald" else f"{who} with {'a beard' if what == 'beard' else what}"
    if ":" in label:
        return None
    if subgroup in (ROLES, FANTASY) and not re.search(r" (with|in|wearing) ", label):
        label = re.sub(r"^man (?=.)", "male ", re.sub(r"^woman (?=.)", "female ", label))
    label = BARE.sub(lambda match: f"{match[1]} a{'n' if match[2][0] in 'aeio' else ''} ", label)
    return label.replace("lotus position", "the lotus position").replace("’", "'")


def _noun_zh(label: str, label_en: str, subgroup: int) -> str:
    hair = re.fullmatch(r"(男人|女人|成人): (..)", label)
    if hair:
        return f"{hair[2]}的{WHO_ZH[hair[1]]}"
    if subgroup in (GESTURES, ACTIVITIES, SPORTS):
        return _doer_zh(label, label_en)
    faces = subgroup in FACES or (subgroup == 10 and "face" in label_en)
    return f"{label}的脸" if faces and not label.endswith("脸") else label


def _doer_zh(label: str, label_en: str) -> str:
    """Noun for a person who does something; labels such as 女生鞠躬 and 皱眉女 aren't nouns."""
    sentence = re.fullmatch(r"(女生|男生)(.+)", label)
    if sentence:
        return f"{sentence[2]}的{sentence[1]}"
    brief = re.fullmatch(r"(.+[^的行])(女|男)", label)
    label = f"{_made(brief[1])}的{brief[2]}人" if brief else _made(label)
    needs_person = label_en.startswith("person ") and not re.search(r"(人|者|选手)$", label)
    return f"{label}的人" if needs_person else label


def _made(gesture: str) -> str:
    return f"做{gesture}" if gesture.endswith("手势") else gesture


def _measure(zh: str, subgroup: int) -> str:
    for ending, measure in MEASURES:
        if re.search(f"(?:{ending})$", zh):
            return measure
    return {DRINKS: "杯"}.get(subgroup, "只" if subgroup in (CATS, MONKEYS, *ANIMALS) else "个")
