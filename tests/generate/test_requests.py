"""Requests refuse wrong values when they are made, in Python, in copies and from files."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vitascope
from vitascope.errors import ConfigError, ModelError, PromptError, VitascopeError
from vitascope.generate.pipeline import Pipeline
from vitascope.generate.requests import Edit, Extend, Fill, Generate, Request, load_request
from vitascope.video import Video

WRONG: dict[str, list[Any]] = {
    "seed": [-1, 2**63, 10**30, "9" * 20, "9" * 5000, 1.5, math.nan, None, []],
    "num_steps": [0, -1, 1001, 10**30, "9" * 20, 0.5, math.inf, [1]],
    "guidance": [-0.1, 1000, math.nan, math.inf, 10**400, Fraction(10**400), Fraction(-1), "x", "nan", []],
    "shift": [0, -1, math.nan, math.inf, 10**400, "x"],
    "fps": [math.nan, math.inf, 10**400, "x", []],
    "seconds": [math.nan, -math.inf, 10**400, {}],
    "height": [0.5, math.nan, "9" * 5000, []],
    "prompt": ["\ud800", "a\0b", "\x1b[2J", "a" * 32_001, 7, None],
    "negative": ["\udfff", "a\0b", "\x07", "a" * 32_001, 7, None],
    "solver": ["", "rk9", 7],
    "image": ["a\0.png", 7, []],
}
CASES = [(field, value) for field, values in WRONG.items() for value in values]


def refused(make) -> str:
    with pytest.raises((ConfigError, PromptError)) as caught:
        make()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("field", "value"), CASES, ids=lambda value: str(value)[:20].encode("unicode_escape").decode())
def test_wrong_numbers_and_texts_are_refused_when_a_request_is_made(field: str, value: Any, tmp_path: Path) -> None:
    """Fails when a value is only checked by the plan or the sampler, or not in a copy."""
    plain = Generate(prompt="a ball")
    refused(lambda: Generate(**{"prompt": "a ball", field: value}))
    refused(lambda: plain.replaced(**{field: value}))
    path = tmp_path / "request.json"
    if not isinstance(value, Fraction):
        path.write_text(json.dumps({"verb": "generate", "prompt": "a ball", field: value}), encoding="utf-8")
        refused(lambda: load_request(path))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Extend(video=Path("a.mp4"), seconds=math.nan),
        lambda: Fill(video=Path("a.mp4"), missing=((0, math.inf),)),
        lambda: Edit(video=Path("a.mp4"), prompt="x", strength=math.nan),
        lambda: Extend(video="a\0.mp4", seconds=1),
        lambda: Generate(prompt="x", references=["a\0.png"]),
        lambda: vitascope.Storyboard(shots=[{"text": "\ud800", "seconds": 1}]),
        lambda: vitascope.Storyboard(text="a\0", shots=[{"text": "x", "seconds": 1}]),
        lambda: vitascope.Storyboard(shots=[{"text": "x", "seconds": math.nan}]),
    ],
)
def test_wrong_values_of_other_verbs_are_refused_when_made(make) -> None:
    refused(make)


def test_a_changed_copy_keeps_the_rest() -> None:
    request = Generate(prompt="a ball", seed=3, image=Video(np.zeros((1, 16, 16, 3), np.uint8), 8.0))
    copy = request.replaced(seed=4)
    assert (copy.seed, copy.prompt, copy.image) == (4, "a ball", request.image)
    assert isinstance(copy, Request)


@pytest.mark.parametrize(
    "compute",
    [
        lambda pipeline: pipeline.generate("a ball"),
        lambda pipeline: pipeline.generate("a ball", image=Video(np.zeros((1, 64, 64, 3), np.uint8), 8.0)),
        lambda pipeline: pipeline.encode_prompt("a ball"),
        lambda pipeline: pipeline.to("cpu"),
    ],
)
def test_a_model_without_its_weights_says_so_when_asked_to_compute(compute) -> None:
    """Fails with an error of PyTorch about meta tensors."""
    with pytest.raises(ModelError, match="weights=True"):
        compute(Pipeline.load("playground", weights=False))


def test_a_request_of_no_verb_is_one_line(tmp_path: Path) -> None:
    for tree in ({}, [], {"verb": ["generate"]}, {"verb": "x" * 5000}, {"verb": "generate", "\ud800": 1}):
        (tmp_path / "request.json").write_text(json.dumps(tree), encoding="utf-8")
        with pytest.raises(VitascopeError) as caught:
            load_request(tmp_path / "request.json")
        assert "\n" not in str(caught.value)
