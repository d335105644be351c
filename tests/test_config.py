"""Configs: what loads, what is refused, and that a dumped config loads as itself."""

from __future__ import annotations

import math
import os
import tomllib
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError, field_validator

from vitascope.config import Config, dump_toml, load_config, parse_config
from vitascope.errors import ConfigError


class Shot(Config):
    """One item of a list of configs."""

    seconds: float = 1.0
    caption: str | None = None


class Optimizer(Config):
    """A section."""

    lr: float = Field(1e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    kind: Literal["adamw", "sgd"] = "adamw"


class Run(Config):
    """A root with everything that a config may hold."""

    steps: int = Field(100, ge=1)
    name: str = "run"
    note: str | None = None
    resume: bool = False
    sizes: list[list[int]] = Field(default_factory=lambda: [[64, 64]])
    folder: Path | None = None
    optimizer: Optimizer = Optimizer()
    shots: list[Shot] = Field(default_factory=list)
    weights: dict[str, float] = Field(default_factory=dict)


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read_and_the_rest_has_its_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, 'steps = 7\nname = "球"\n[optimizer]\nlr = 0.5\n'), Run)
    assert config == Run(steps=7, name="球", optimizer=Optimizer(lr=0.5))


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Run().steps = 3


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("steps=9", Run(steps=9)),
        (" steps =9", Run(steps=9)),
        ("optimizer.lr=1e-3", Run(optimizer=Optimizer(lr=1e-3))),
        ("optimizer.betas=[0.5, 0.6]", Run(optimizer=Optimizer(betas=(0.5, 0.6)))),
        ("name=hello there", Run(name="hello there")),
        ('name="a=b"', Run(name="a=b")),
        ("name=a=b", Run(name="a=b")),
        ("name=", Run(name="")),
        ("resume=true", Run(resume=True)),
        ("weights.sharp=2", Run(weights={"sharp": 2.0})),
        ("shots=[{seconds = 2}]", Run(shots=[Shot(seconds=2)])),
    ],
)
def test_overrides(tmp_path: Path, override: str, expected: Run) -> None:
    assert load_config(write(tmp_path, ""), Run, [override]) == expected


def test_a_later_override_wins_over_the_file_and_earlier_ones(tmp_path: Path) -> None:
    path = write(tmp_path, "steps = 1\n[optimizer]\nlr = 0.1\n")
    config = load_config(path, Run, ["steps=2", "steps=3", "optimizer.kind=sgd"])
    assert (config.steps, config.optimizer.lr, config.optimizer.kind) == (3, 0.1, "sgd")


@pytest.mark.parametrize(
    ("text", "overrides", "reason"),
    [
        ("stepz = 1", [], "stepz"),
        ("[optimizer]\nlearning_rate = 1", [], r"optimizer\.learning_rate"),
        ("steps = 0", [], "steps: .*greater than or equal to 1"),
        ('steps = "many"', [], "steps"),
        ("steps = 1.5", [], "steps"),
        ('[optimizer]\nkind = "adma"', [], r"optimizer\.kind"),
        ("[[shots]]\nsecond = 1", [], r"shots\.0\.second"),
        ("steps = 0\nstepz = 1\nnome = 2", [], "and 2 more"),
        ("steps = ", [], "not a readable TOML file"),
        ("steps = 1\nsteps = 2", [], "not a readable TOML file"),
        ("steps = " + "[" * 5000, [], "not a readable TOML file"),
        ("", ["stepz=1"], "stepz"),
        ("", ["steps"], "not of the form key=value"),
        ("", ["=3"], "not of the form key=value"),
        ("", ["steps.x=3"], "steps"),
        ("steps = 1", ["steps.x=3"], "steps is a value, not a section"),
        ("", ["optimizer=3"], "optimizer"),
        ("", ["optimizer..lr=3"], "optimizer"),
    ],
)
def test_what_is_refused_is_named_in_one_line(tmp_path: Path, text: str, overrides: list[str], reason: str) -> None:
    """Fails when unknown keys are accepted: `extra` other than forbid."""
    with pytest.raises(ConfigError, match=reason) as caught:
        load_config(write(tmp_path, text), Run, overrides)
    assert "\n" not in str(caught.value)


class Even(Config):
    """A config with a rule of its own."""

    side: int

    @field_validator("side")
    @classmethod
    def _is_even(cls, side: int) -> int:
        if side % 2:
            raise ValueError(f"{side} is odd; take {side + 1}")
        return side


def test_a_rule_of_our_own_speaks_for_itself() -> None:
    with pytest.raises(ConfigError, match=r"^config: side: 3 is odd; take 4$"):
        parse_config({"side": 3}, Even)


def test_files_that_are_no_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no config file"):
        load_config(tmp_path / "none.toml", Run)
    with pytest.raises(ConfigError, match="not a readable TOML file"):
        load_config(tmp_path, Run)
    (tmp_path / "bytes.toml").write_bytes(b"\xfe\x00\xc3")
    with pytest.raises(ConfigError, match="not a readable TOML file"):
        load_config(tmp_path / "bytes.toml", Run)


@pytest.mark.parametrize(
    "config",
    [
        Run(),
        Run(note="第一行\n第二行\t\"引号\" \\ 'x' \r\x01\x1f\x7f\u2028"),
        Run(name="", note="# no comment", resume=True, sizes=[[], [1, 2], [3]]),
        Run(optimizer=Optimizer(lr=1e-7, betas=(0.0, 1.0))),
        Run(shots=[Shot(), Shot(seconds=2, caption="红球, {a = 1}")]),
        Run(weights={"a b": 1.0, "球": 2.0, "x.y": 3.0, "": 4.0}),
        Run(folder=Path("data/场景")),
        Run(steps=2**62),
    ],
)
def test_a_dumped_config_loads_as_itself(tmp_path: Path, config: Run) -> None:
    assert load_config(write(tmp_path, dump_toml(config)), Run) == config


@settings(max_examples=100, deadline=None)
@given(
    note=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    weights=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
)
def test_any_text_and_number_survives(note: str, weights: dict[str, float]) -> None:
    """Fails when quotes, control characters or keys with dots are written bare."""
    config = Run(note=note, weights=weights)
    assert parse_config(tomllib.loads(dump_toml(config)), Run) == config


def test_none_is_left_out_and_sections_come_last() -> None:
    text = dump_toml(Run())
    assert "note" not in text
    assert text.index("shots") < text.index("[optimizer]")


def test_none_in_a_list_is_refused() -> None:
    class Gaps(Config):
        items: list[int | None]

    with pytest.raises(ConfigError, match="None"):
        dump_toml(Gaps(items=[1, None]))


DIGITS = "9" * 5000
BAD_TOML = {
    "an integer of 5,000 digits": (b"steps = " + DIGITS.encode(), []),
    "an integer of 20 digits": (b"steps = 99999999999999999999", []),
    "an infinity": (b"[optimizer]\nlr = inf", []),
    "a NaN": (b"[weights]\nsharp = nan", []),
    "a NUL": (b"name = 'a\x00b'", []),
    "half of UTF-16": ("steps = 7".encode("utf-16")[:-1], []),
    "Latin-1": (b"name = 'caf\xe9'", []),
    "a key of 100,000 parts": (b"a." * 100_000 + b"a = 1", []),
    "a key of 500 parts": (b"a." * 500 + b"a = 1", []),
    "500 nested tables": (b"weights = " + b"{a = " * 500 + b"1" + b"}" * 500, []),
    "more than 1 MiB": (b"# " + b"x" * (1 << 20), []),
    "nested arrays in an override": (b"", ["sizes=" + "[" * 5000]),
    "closed nested arrays in an override": (b"", ["weights=" + "[" * 300 + "]" * 300]),
    "a long integer in an override": (b"", [f"steps={DIGITS}"]),
    "20 digits in an override": (b"", ["steps=99999999999999999999"]),
    "20 digits in quotes": (b"", ["steps='99999999999999999999'"]),
    "20 digits in a list": (b"", ["sizes=[['99999999999999999999']]"]),
    "an infinity in quotes": (b"", ["optimizer.lr='inf'"]),
    "an infinity in an override": (b"", ["optimizer.lr=inf"]),
    "a NaN in an override": (b"", ["optimizer.lr=nan"]),
    "a NUL in a key": (b"", ["ste\x00ps=3"]),
    "a surrogate in an override": (b"", ["name=\udcff"]),
    "a surrogate in a key": (b"", ["n\udcff=3"]),
    "a key of many parts": (b"", ["a." * 5000 + "a=1"]),
    "a list for a text": (b"", ["name=[1]"]),
    "a second line in an override": (b"", ["steps=3\nname=4"]),
}


@pytest.mark.parametrize("kind", BAD_TOML)
def test_numbers_texts_and_nesting_that_no_config_can_hold_are_one_line(tmp_path: Path, kind: str) -> None:
    content, overrides = BAD_TOML[kind]
    (tmp_path / "run.toml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "run.toml", Run, overrides)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path, encoding: str, newline: str) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(f'steps = 7{newline}name = "球"{newline}'.encode(encoding))
    assert load_config(path, Run) == Run(steps=7, name="球")


@pytest.mark.parametrize(
    "text",
    ["2024", "007", "1_000", "1e3", "2024-01-01", "0x10", "true", "inf", "nan", DIGITS, "1.50", "a b", "run/7", "~/x"],
)
def test_a_bare_word_or_number_for_a_text_setting_is_text(tmp_path: Path, text: str) -> None:
    """Fails when an override's value is parsed before the setting's type is known."""
    config = load_config(write(tmp_path, ""), Run, [f"name={text}", f"note={text}", f"folder={text}"])
    assert (config.name, config.note, config.folder) == (text, text, Path(text))


def test_numbers_and_dates_for_texts_in_a_file_are_text(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "name = 2024\nnote = 2024-01-31\n[[shots]]\ncaption = 3\n"), Run)
    assert (config.name, config.note, config.shots) == ("2024", "2024-01-31", [Shot(caption="3")])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_pipes_devices_and_folders_are_no_configs(tmp_path: Path) -> None:
    """Fails when a pipe is opened, which waits for ever."""
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path / "pipe.toml", Path("/dev/zero"), tmp_path, tmp_path / "pipe.toml" / "x", "a" * 5000, "a\0"):
        with pytest.raises(ConfigError) as caught:
            load_config(path, Run)
        assert "\n" not in str(caught.value)


def test_changed_copies_are_checked() -> None:
    """Fails when copies are made by `model_copy`, which skips the rules."""
    assert Run().replaced(steps=3) == Run(steps=3)
    for change in ({"steps": 0}, {"steps": None}, {"stepz": 3}, {"optimizer": {"lr": math.nan}}):
        with pytest.raises(ConfigError):
            Run().replaced(**change)
