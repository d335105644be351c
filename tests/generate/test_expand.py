"""Expansion by rules: additions in the captions' wording, reproducible by seed, with the prompt itself unchanged."""

from __future__ import annotations

import re

import pytest

from vitascope.errors import PromptError
from vitascope.generate.expand.rules import expand, expand_storyboard
from vitascope.generate.requests import Storyboard, StoryboardShot
from vitascope.worlds.language import CAMERA_PHRASES
from vitascope.worlds.solids.words import COLOURS, SETTING_PHRASES, TIME_PHRASES

PLACES = [phrase for language in SETTING_PHRASES.values() for said in language.values() for phrase in said]
CAMERAS = [phrase for language in CAMERA_PHRASES.values() for said in language.values() for phrase in said]
TIMES = [phrase for language in TIME_PHRASES.values() for said in language.values() for phrase in said if phrase]


def added(prompt: str, seed: int = 0, **options: bool) -> set[str]:
    """The topics on which something is added."""
    fuller = expand(prompt, seed, **options)
    rest = fuller
    for word in re.findall(r"[a-z]+|[\u3400-\u9fff]", prompt.lower()):
        rest = rest.replace(word, " ", 1) if re.match(r"[\u3400-\u9fff]", word) else rest
    topics = {"place": PLACES, "camera": CAMERAS, "time": TIMES}
    return {name for name, phrases in topics.items() if any(p in fuller and p not in prompt for p in phrases)}


@pytest.mark.parametrize("seed", range(5))
def test_a_short_prompt_becomes_a_caption(seed: int):
    fuller = expand("a cat jumps", seed)
    assert re.fullmatch(rf"an? ({'|'.join(COLOURS)}) cat jumps [a-z ]+, [a-z -]+", fuller)
    assert added("a cat jumps", seed) == {"place", "camera", "time"}
    assert added("一只猫在跳", seed) == {"place", "camera", "time"}
    assert re.search("一只.{1,2}色的猫在跳", expand("一只猫在跳", seed))


def test_a_seed_always_adds_the_same_and_others_add_others():
    assert expand("a cat jumps", 3) == expand("a cat jumps", 3)
    assert len({expand("a cat jumps", seed) for seed in range(20)}) > 10
    assert len({expand("一只猫在跳", seed) for seed in range(20)}) > 10


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a red ball rolls in the kitchen", {"time", "camera"}),
        ("a red ball rolls on the grass", {"time", "camera"}),
        ("a red ball spins in place", {"place", "time", "camera"}),
        ("a red ball rolls at night", {"place", "camera"}),
        ("a cat on the moon", {"camera"}),
        ("a snowman waves", {"place", "time", "camera"}),
        ("a cat jumps, close-up", {"place", "time"}),
        ("a cat walks into a house", {"time", "camera"}),
        ("一只猫在厨房里跳", {"time", "camera"}),
        ("一个雪人左右摇摆", {"place", "time", "camera"}),
        ("夜晚，一只猫跑步", {"place", "camera"}),
        ("一只蓝色的机器人在走路", {"place", "time", "camera"}),
        ("特写，一只猫跳", {"place", "time"}),
    ],
)
def test_what_a_prompt_speaks_of_is_left_alone(prompt: str, expected: set[str]):
    """Fails when places that the vocabulary doesn't know are taken for none."""
    assert all(added(prompt, seed) == expected for seed in range(8))


@pytest.mark.parametrize(
    "prompt",
    [
        "a brown cat jumps",
        "the cat jumps",
        "a black and white film of a cat",
        "a polar bear waves",
        "a ball game",
        "a cat jumps, as a pencil drawing, in pastel colors",
        "一只黑猫在跳",
        "一个球场",
        "一只熊猫在跳",
    ],
)
def test_colours_that_are_said_or_meant_stay(prompt: str):
    assert all(prompt in expand(prompt, seed) for seed in range(8))


@pytest.mark.parametrize("seed", range(8))
def test_every_word_stays_in_its_order(seed: int):
    for prompt in ("A robot waves.", "a ball", "two penguins walk, happy", "a cat chases a dog", "一只猫追赶一个球。"):
        rest = iter(expand(prompt, seed))
        assert all(
            mark in rest for mark in prompt.replace(".", "").replace("A ", "").replace("a ", "").replace("。", "")
        )


def test_a_thing_alone_does_something_unless_it_is_an_image():
    assert all(re.match("a happy red ball [a-z]+s ", expand("a happy red ball", seed)) for seed in range(8))
    assert all("一个红色的球，" not in expand("一个红色的球", seed) for seed in range(8))
    still = expand("a red ball", 0, is_image=True)
    assert re.fullmatch(r"a red ball (on|in|at|among|indoors).*", still)
    assert added("a red ball", is_image=True) == {"place", "time"}


def test_pictures_leave_only_the_camera_open():
    fuller = expand("a cat jumps", 0, has_pictures=True)
    assert fuller.startswith("a cat jumps, ")
    assert fuller.removeprefix("a cat jumps, ") in CAMERAS


@pytest.mark.parametrize(
    "prompt", ["a cat. it jumps", "a cat jumps, then it runs", "一只猫。它在跳", "word " * 40, "猫" * 60]
)
def test_long_prompts_and_several_sentences_stay(prompt: str):
    assert expand(prompt, 0) == prompt.strip()


def test_an_empty_prompt_is_refused():
    with pytest.raises(PromptError):
        expand(" ", 0)


def test_the_shots_of_a_storyboard_share_what_is_added():
    shots = tuple(StoryboardShot(text=text, seconds=1) for text in ("a robot waves", "the robot jumps", "它在跳"))
    for seed in range(5):
        first, second, third = (shot.text for shot in expand_storyboard(Storyboard(shots=shots), seed).shots)
        assert first.removeprefix("a robot waves") == second.removeprefix("the robot jumps") != ""
        place = next(name for name, said in SETTING_PHRASES["en"].items() if any(phrase in first for phrase in said))
        assert any(phrase in third for phrase in SETTING_PHRASES["zh"][place])
    told = expand_storyboard(Storyboard(text="in a kitchen at night", shots=shots), 0)
    assert all(shot.text.startswith(before.text) for shot, before in zip(told.shots[:2], shots, strict=False))
    assert not any(phrase in shot.text for shot in told.shots for phrase in (*PLACES, *TIMES))
