"""Phrases for motions, in English and Chinese.

English phrases have their verbs in braces, and captions conjugate them. `{travel}` is the actor's verb of locomotion;
`{partner}` and `{gift}` are other actors.
"""

from __future__ import annotations

from typing import Literal

from vitascope.worlds.solids.words import Kind

Form = Literal["singular", "plural", "participle"]

TRAVEL_VERBS_EN: dict[Kind, tuple[str, ...]] = {
    "ball": ("roll",),
    "cube": ("slide", "glide"),
    "cylinder": ("slide", "glide"),
    "cone": ("slide", "glide"),
    "robot": ("walk", "march"),
    "cat": ("walk", "stroll"),
    "penguin": ("waddle", "walk"),
    "snowman": ("glide", "slide"),
    "bear": ("walk", "plod"),
    "rabbit": ("walk", "run"),
    "domino": ("slide",),
    "wall": ("slide",),
}
TRAVEL_VERBS_ZH: dict[Kind, tuple[str, ...]] = {
    kind: ("滚",) if kind == "ball" else ("走",) if kind in ("robot", "cat", "penguin", "bear", "rabbit") else ("滑",)
    for kind in TRAVEL_VERBS_EN
}

MOTION_PHRASES_EN: dict[str, tuple[str, ...]] = {  # by motion; balls have variants
    "right": ("{travel} to the right", "{travel} from left to right", "{move} right"),
    "left": ("{travel} to the left", "{travel} from right to left", "{move} left"),
    "jump": ("{jump} up and down", "{jump}", "{hop} up and down"),
    "jump ball": ("{bounce} up and down",),
    "fall": ("{fall} from above", "{drop} from above and {bounce}", "{fall} down and {bounce}"),
    "spin": ("{spin} in place", "{turn} around on the spot", "{rotate} in place"),
    "circle": ("{travel} in a circle", "{move} in circles", "{circle} around"),
    "sway": ("{sway} from side to side", "{sway} left and right", "{rock} left and right"),
    "approach": ("{come} closer", "{travel} towards the camera", "{come} towards the camera"),
    "leave": ("{travel} away from the camera", "{move} away", "{travel} into the distance"),
    "wave": ("{wave}", "{wave} hello", "{wave} at the camera"),
    "stand": ("{stand} still", "{stand} there"),
    "ramp": ("{roll} down a ramp", "{roll} down a wooden slope"),
    "swing": ("{swing} from a rod", "{swing} like a pendulum", "{hang} from a rod and {swing}"),
    "topple": ("{topple} one after another", "{fall} over one by one", "{topple} in a chain"),
    "collide": ("{roll} into {partner}", "{collide} with {partner}", "{bump} into {partner}"),
    "chase": ("{chase} {partner}", "{run} after {partner}"),
    "orbit": ("{travel} around {partner}", "{go} round and round {partner}"),
    "hide": ("{hide} behind {partner} and {come} out again", "{go} behind {partner} and {come} out on the other side"),
    "give": ("{hand} {gift} to {partner}", "{give} {gift} to {partner}"),
}
MOTION_PHRASES_ZH: dict[str, tuple[str, ...]] = {
    "right": ("向右{travels}", "从左向右{travel}", "向右移动"),
    "left": ("向左{travels}", "从右向左{travel}", "向左移动"),
    "jump": ("上下跳动", "不停地跳", "上下蹦跳"),
    "jump ball": ("上下弹跳", "不停地弹跳"),
    "fall": ("从上面掉下来", "从空中落下", "从高处落下并弹起"),
    "spin": ("原地旋转", "在原地转圈", "原地打转"),
    "circle": ("绕圈移动", "绕着圈{travel}", "转着圈移动"),
    "sway": ("左右摇摆", "左右摇晃", "左右晃动"),
    "approach": ("向镜头靠近", "朝镜头{travel}来", "越来越近"),
    "leave": ("渐渐远去", "离镜头越来越远", "向远处{travel}去"),
    "wave": ("挥手", "向镜头招手", "挥手打招呼"),
    "stand": ("站着不动", "停在那里"),
    "ramp": ("从斜坡上滚下来", "沿着木制斜坡滚下"),
    "swing": ("挂在杆上摆动", "像钟摆一样摆动"),
    "topple": ("一个接一个倒下", "依次倒下"),
    "collide": ("撞上{partner}", "滚过去撞到{partner}"),
    "chase": ("追赶{partner}", "追着{partner}跑"),
    "orbit": ("绕着{partner}{travel}", "围着{partner}转圈"),
    "hide": ("躲到{partner}后面又出来", "走到{partner}后面，又从另一边出来"),
    "give": ("把{gift}递给{partner}", "把{gift}交给{partner}"),
}


def conjugate(verb: str, form: Form) -> str:
    """Present tense ("hops", "hop") or participle ("hopping") of a verb."""
    if form == "plural":
        return verb
    if form == "singular":
        return verb + ("es" if verb.endswith(("ch", "sh", "ss")) or verb == "go" else "s")
    if verb in ("hop", "drop", "spin", "run", "plod"):
        return verb + verb[-1] + "ing"
    return (verb[:-1] if verb.endswith("e") else verb) + "ing"
