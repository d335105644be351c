"""Fuzz: damaged configs and wrong command lines end with one line and exit code 2, never with a traceback.

    nice -n 10 python -m benchmarks.robustness.fuzz --trials 500

Half of the trials are configs: TOML of training runs, requests, storyboards and the JSON of model folders, with wrong
values, missing and repeated lines, and changed bytes. The other half are command lines of every verb with wrong values.
All run in this process through `vitascope.cli.main`; functions that render or compute are replaced by an error.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import io
import json
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import typer
from typer.main import get_command

import vitascope
from vitascope import cli
from vitascope.config import bundled_configs
from vitascope.errors import ModelError, VitascopeError
from vitascope.progress import with_progress

_BUNDLED = Path(vitascope.__file__).parent / "models" / "playground"
_NETWORKS = ("codec", "transformer", "judge")
_EVALUATIONS = (
    "codec",
    "physics",
    "coherence",
    "distribution",
    "length",
    "judge",
    "faithful",
    "conditioning",
    "storyboards",
)
_LITERALS = (
    "0", "-1", "1.5", "1e999", "nan", "inf", "-inf", "true", '""', '"x"', '"\\u0000"', "[]", "[[]]", "{}", "{a = 1}",
    "99999999999999999999", "9" * 5000, "[" * 2000, "[" * 70 + "]" * 70, "2024-01-01", "0x10", "'''", '"\\ud800"',
    "= =",     "[1, 'x', {}]", "18446744073709551616", "-9223372036854775809", "1_0", "007", '"none"',
    "'" + "x" * 40_000 + "'",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 1.5, 2**31, 2**63, 10**30, 10**400, 1e300, -1e-300, "", "x", "9" * 5000, "\ud800",
    "a\0b", [],
    [1],     [[[]]], {}, {"a": None}, [None] * 9, "x" * 40_000,
)  # fmt: skip
_WORDS = (
    "", "x", "-1", "0", "1", "2", "1.5", "nan", "inf", "-inf", "1e999", "9" * 20, "9" * 5000, "64x64", "0x0",
    "99999x99999", "64x", "1-2", "2-1", "1-2,", "auto", "cpu", "cuda:99", "tpu", "int8", "float32", "bfloat16",
    "euler",
    "unipc", "train", "held_out", "playground", "playground/", "owner/name", "owner/file", "missing", "~nobody/x",
    "C:\\x\\y", "file.mp4", "file.png", "file.json", "file.toml", "folder", "folder/", "link", "new",
    "new.mp4", "new.png",
    "deep/er/new.mp4", "a\0b", "a\udcffb", "a\nb", "\x1b[31m", "猫", "n" * 300, "n" * 5000,
    "http://127.0.0.1:9/x.mp4",
    "--", "-", "=", "a=b",
)  # fmt: skip
_REQUESTS: tuple[dict[str, Any], ...] = (
    {
        "verb": "generate",
        "prompt": "a ball",
        "seconds": 1.0,
        "seed": 1,
        "guidance": 2.0,
        "num_steps": 4,
        "image": "file.png",
    },
    {
        "verb": "generate",
        "prompt": "a ball",
        "num_frames": 5,
        "height": 64,
        "width": 64,
        "fps": 8,
        "references": ["a.png"],
    },
    {"verb": "extend", "video": "file.mp4", "seconds": 1.0, "backward": True, "negative": "red", "shift": 2.0},
    {"verb": "fill", "video": "file.mp4", "missing": [[0, 1], [2, 3]]},
    {"verb": "connect", "before": "file.mp4", "after": "file.mp4", "seconds": 1, "solver": "euler"},
    {"verb": "edit", "video": "file.mp4", "prompt": "x", "strength": 0.5, "mask": "file.png"},
    {
        "verb": "storyboard",
        "text": "x",
        "shots": [{"text": "a", "seconds": 1}, {"text": "b", "seconds": 1, "cut": False}],
    },
)
_STORYBOARD = """text = "a robot"
seed = 3
[[shots]]
text = "walks"
seconds = 1
[[shots]]
text = "stops"
seconds = 2
cut = false
"""
_NOTES = ("reading the records of", "expanded: ")  # beginnings of lines that may come before an error


@dataclass
class Outcome:
    """Counts of exit codes, and the trials that broke the rule."""

    codes: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def count(self, label: str, action: Callable[[], int]) -> None:
        """Run one trial: exit code 0, 1 or 2, and one line on stderr unless it is 0."""
        out, err = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = action()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            place = traceback.extract_tb(error.__traceback__)[-1]
            self.failures.append(
                f"{label}: {type(error).__name__}: {str(error)[:200]} ({place.filename}:{place.lineno})"
            )
            return
        self.codes[code] += 1
        lines = [line for line in err.getvalue().split("\n")[:-1] if not line.startswith(_NOTES)]
        if code not in (0, 1, 2) or (code and len(lines) != 1) or "Traceback" in err.getvalue():
            self.failures.append(f"{label}: exit {code}, {len(lines)} lines: {err.getvalue()[:300]!r}")


def main() -> int:
    """0, or 1 if a trial ended with a traceback, another exit code or more than one line."""
    parser = argparse.ArgumentParser(description="Fuzz configs and command lines.")
    parser.add_argument("--trials", type=int, default=500, help="configs, and as many command lines (default 500)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failed = False
    for name, run in (("configs", fuzz_configs), ("command lines", fuzz_command_lines)):
        outcome = run(options.trials, options.seed, label=name)
        codes = ", ".join(f"{count} x exit {code}" for code, count in sorted(outcome.codes.items()))
        print(f"{name}: {options.trials} trials, {len(outcome.failures)} failures ({codes})")
        print("".join(f"  {failure}\n" for failure in outcome.failures), end="")
        failed |= bool(outcome.failures)
    return int(failed)


def fuzz_configs(trials: int, seed: int = 0, label: str = "configs") -> Outcome:
    """Outcome of damaged configs of all kinds, in turn."""
    dice, outcome = random.Random(seed), Outcome()
    kinds = (_train_config, _request, _storyboard, _model_folder)
    with _folder_of_files(), _without_work():
        for number in with_progress(label, range(trials)):
            name, action = kinds[number % len(kinds)](dice)
            outcome.count(f"{number} {name}", action)
    return outcome


def fuzz_command_lines(trials: int, seed: int = 0, label: str = "command lines") -> Outcome:
    """Outcome of command lines of random verbs, options and values."""
    dice, outcome = random.Random(seed), Outcome()
    verbs = [(path, command) for path, command in _verbs() if path]
    with _folder_of_files(), _without_work():
        for number in with_progress(label, range(trials)):
            words = _command_line(dice, *dice.choice(verbs))
            outcome.count(f"{number} {str(words)[:300]}", lambda words=words: cli.main(words))
    return outcome


def _train_config(dice: random.Random) -> tuple[str, Callable[[], int]]:
    network = dice.choice(_NETWORKS)
    names = [name for name in bundled_configs() if network in name]
    text = bundled_configs()[dice.choice(names)].read_text("utf-8")
    lines = ['data = "none"' if line.startswith("data =") else line for line in text.splitlines()]
    Path("run.toml").write_bytes(_damaged_toml(dice, lines))
    keys = [line.partition(" =")[0] for line in lines if " = " in line and not line.startswith(("#", " "))]
    keys += [
        "codec.base_width",
        "transformer.patch",
        "pipeline.fps",
        "loss.kl",
        "noise.std",
        "judge.lags",
        "device",
        "x.y",
    ]
    overrides = [f"{dice.choice(keys)}={dice.choice(_LITERALS)}" for _ in range(dice.choice([0, 0, 1, 2]))]
    words = ["train", network, "run.toml", "data=none", *overrides]
    return f"train {network} {str(overrides)[:100]}", lambda: cli.main(words)


def _storyboard(dice: random.Random) -> tuple[str, Callable[[], int]]:
    Path("board.toml").write_bytes(_damaged_toml(dice, _STORYBOARD.splitlines()))
    return "storyboard", lambda: cli.main(["storyboard", "board.toml", "--dump-request"])


def _request(dice: random.Random) -> tuple[str, Callable[[], int]]:
    tree = dict(dice.choice(_REQUESTS))
    key = dice.choice([*tree, "seed", "guidance", "num_steps", "prompt", "negative", "unknown"])
    tree[key] = dice.choice(_VALUES)
    Path("request.json").write_bytes(_damaged_bytes(dice, json.dumps(tree).encode()))
    return f"request {key}", lambda: cli.main(["run", "request.json", "--dump-request"])


def _model_folder(dice: random.Random) -> tuple[str, Callable[[], int]]:
    """A model's folder with one damaged JSON file; the tokenizer is damaged less often, as it takes long to read."""
    files = ["model_index.json", "vae/config.json", "transformer/config.json", "text_encoder/config.json"]
    name = dice.choice([*files * 4, "tokenizer/tokenizer.json"])
    shutil.rmtree("model", ignore_errors=True)
    for file in (*files, "tokenizer/tokenizer.json"):
        Path("model", file).parent.mkdir(parents=True, exist_ok=True)
        Path("model", file).symlink_to(_BUNDLED / file)
    path = Path("model", name)
    content = path.read_bytes()
    path.unlink()
    if name != "tokenizer/tokenizer.json" and dice.random() < 0.7:
        tree = json.loads(content)
        node = tree.get("pipeline", tree) if dice.random() < 0.8 else tree
        node[dice.choice(list(node))] = dice.choice(_VALUES)
        content = json.dumps(tree).encode()
    path.write_bytes(_damaged_bytes(dice, content, at_least=int(name.startswith("tokenizer"))))

    def load() -> int:
        try:
            _LOAD("model", device="auto", weights=False)
        except VitascopeError as error:
            print(str(error), file=sys.stderr)
            return 2
        return 0

    return f"model {name}", load


def _damaged_toml(dice: random.Random, lines: Sequence[str]) -> bytes:
    lines = [*lines]
    for _ in range(dice.choice([0, 1, 1, 2])):
        place = dice.randrange(len(lines))
        match dice.randrange(4):
            case 0:
                lines[place] = f"{lines[place].partition('=')[0] or 'x'}= {dice.choice(_LITERALS)}"
            case 1:
                lines.insert(
                    place, dice.choice(["unknown = 1", "[unknown]", "a.b.c = 1", "[[shots]]", lines[place], "a." * 900])
                )
            case 2:
                del lines[place]
            case _:
                lines[place] = lines[place][: dice.randrange(len(lines[place]) + 1)]
    encoding = dice.choice(["utf-8"] * 8 + ["utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
    return _damaged_bytes(dice, "\n".join(lines).encode(encoding))


def _damaged_bytes(dice: random.Random, content: bytes, at_least: int = 0) -> bytes:
    damaged = bytearray(content)
    for _ in range(max(at_least, dice.choice([0, 0, 0, 1, 2]))):
        if damaged:
            damaged[dice.randrange(len(damaged))] = dice.choice([0, 10, 34, 44, 91, 93, 123, 255, dice.randrange(256)])
    return bytes(damaged[: dice.randrange(len(damaged) + 1)] if dice.random() < 0.1 else damaged)


def _command_line(dice: random.Random, path: list[str], command: Any) -> list[str]:
    """A verb with its arguments, required options and a few others; one value in three is from `_WORDS`."""
    words = list(path)
    options = [each for each in command.params if each.opts[0].startswith("-") and each.name != "help"]
    for argument in (each for each in command.params if not each.opts[0].startswith("-")):
        if dice.random() < 0.95:
            words.append(_value(dice, argument))
        if argument.nargs == -1 and dice.random() < 0.5:
            words.append(dice.choice(_WORDS))
    chosen = [each for each in options if each.required and dice.random() < 0.95]
    for option in [*chosen, *dice.sample(options, min(len(options), dice.choice([0, 0, 1, 2, 4])))]:
        words.append(dice.choice(option.opts) + ("x" if dice.random() < 0.02 else ""))
        if option.type_descriptor.annotation is not bool and dice.random() < 0.98:
            words.append(_value(dice, option))
    if dice.random() < 0.05:
        words.insert(dice.randrange(len(words) + 1), dice.choice(_WORDS))
    return words


def _value(dice: random.Random, parameter: Any) -> str:
    """A word that the parameter's type mostly takes, or one time in three any word."""
    if dice.random() < 1 / 3:
        return dice.choice(_WORDS)
    if parameter.name == "size":
        return "64x64"
    kind = str(parameter.type_descriptor.annotation)
    usual = {"int": ("1", "3"), "float": ("0.5", "1"), "Path": ("file.mp4", "folder", "new", "file.png")}
    known = next(
        (words for name, words in usual.items() if name in kind), ("a ball", "1-2", "none", "auto", "bfloat16")
    )
    return dice.choice(known)


def _verbs() -> Iterator[tuple[list[str], Any]]:
    """Each verb's words and its command; groups are listed by their verbs."""
    for name, action in cli._VERBS.items():
        group = action
        if not isinstance(action, typer.Typer):
            group = typer.Typer(add_completion=False, rich_markup_mode=None)
            group.command()(action)
        command: Any = get_command(group)  # type: ignore[arg-type]
        commands = getattr(command, "commands", None)
        yield from ([([name, each], inner) for each, inner in commands.items()] if commands else [([name], command)])


@contextlib.contextmanager
def _folder_of_files() -> Iterator[None]:
    """A working folder with a few files that verbs may be given."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for name in ("folder", "owner"):
                Path(name).mkdir()
            for name in ("file.mp4", "file.png", "file.json", "file.toml", "owner/file", "folder/a.mp4"):
                Path(name).write_bytes(b"no such thing\n")
            Path("link").symlink_to("nothing")
            yield
        finally:
            os.chdir(before)


@contextlib.contextmanager
def _without_work() -> Iterator[None]:
    """A context in which loading, rendering, measuring and downloading are errors of the user."""

    def refuse(*arguments: object, **options: object) -> None:
        raise ModelError("work that this benchmark doesn't do")

    with contextlib.ExitStack() as stack:
        targets = [
            (vitascope, "load"),
            (importlib.import_module("huggingface_hub"), "snapshot_download"),
            (importlib.import_module("vitascope.data.render"), "render_dataset"),
            (importlib.import_module("vitascope.data.render_emoji"), "prepare_emoji"),
            (importlib.import_module("vitascope.hub.export"), "export_model"),
            (importlib.import_module("vitascope.train.loop").Trainer, "run"),
        ]
        for name in _EVALUATIONS:
            module = importlib.import_module(f"vitascope.evaluate.{name}")
            public = [each for each, value in vars(module).items() if inspect.isfunction(value) and each[0] != "_"]
            targets += [(module, each) for each in public if inspect.getmodule(vars(module)[each]) is module]
        for owner, name in targets:
            stack.enter_context(mock.patch.object(owner, name, refuse))
        stack.enter_context(mock.patch.dict(os.environ, {"HF_HUB_OFFLINE": "1"}))
        yield


_LOAD = vitascope.load  # before `_without_work` replaces it


if __name__ == "__main__":
    sys.exit(main())
