"""Configs: frozen pydantic models read from TOML files, with dotted overrides. Unknown keys are errors."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from vitascope.errors import ConfigError


class Config(BaseModel):
    """Base of all configs: immutable, complete, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


ConfigT = TypeVar("ConfigT", bound=Config)


def load_config(path: str | Path, kind: type[ConfigT], overrides: Sequence[str] = ()) -> ConfigT:
    """Config from a TOML file with overrides such as `optimizer.lr=1e-4`, whose values are TOML.

    Raises:
        ConfigError: the file is missing or not TOML, or a key is unknown, of the wrong type or out of range.
    """
    path = Path(path)
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no config file {path}; check the path") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not a readable TOML file: {_one_line(error)}") from None
    for override in overrides:
        _apply_override(tree, override)
    return parse_config(tree, kind, source=str(path))


def parse_config(tree: dict[str, Any], kind: type[ConfigT], source: str = "config") -> ConfigT:
    """Config from a nested dict.

    Raises:
        ConfigError: a key is unknown or wrong; the message names the first and counts the others.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: {validation_message(error)}") from None


def validation_message(error: ValidationError) -> str:
    """The first key that is unknown or wrong, what is wrong with it, and how many more there are."""
    first, *others = error.errors()
    key = ".".join(str(part) for part in first["loc"]) or "(root)"
    more = f" (and {len(others)} more)" if others else ""
    return f"{key}: {_one_line(first['msg'].removeprefix('Value error, '))}{more}"


def dump_toml(config: Config) -> str:
    """Config as TOML text with all resolved values; None is omitted."""
    return "\n".join(_toml_lines(config.model_dump(mode="json"), prefix="")) + "\n"


def _apply_override(tree: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise ConfigError(f"override {override!r} is not of the form key=value; write such as optimizer.lr=1e-4")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *parents, leaf = dotted.strip().split(".")
    node = tree
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"override {override!r}: {parent} is a value, not a section; override {parent} itself")
    node[leaf] = value


def _toml_lines(tree: dict[str, Any], prefix: str) -> list[str]:
    values = {key: value for key, value in tree.items() if not isinstance(value, dict) and value is not None}
    lines = [f"{_toml_key(key)} = {_toml_value(value)}" for key, value in values.items()]
    for key, value in tree.items():
        if isinstance(value, dict):
            section = f"{prefix}{_toml_key(key)}"
            lines += ["", f"[{section}]", *_toml_lines(value, f"{section}.")]
    return lines


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_value(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON escapes are valid TOML
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        items = {key: item for key, item in value.items() if item is not None}
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml_value(item)}" for key, item in items.items()) + "}"
    if value is None:
        raise ConfigError("a list in a config contains None, which TOML can't represent; omit the item")
    return repr(value)


def _one_line(message: object) -> str:
    return " ".join(str(message).split())
