"""Configs: frozen pydantic models read from TOML files, with dotted overrides. Unknown keys are errors."""

from __future__ import annotations

import codecs
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from vitascope.errors import ConfigError, reason
from vitascope.files import MAX_DEPTH, TOO_DEEP, read_small, walk

MAX_TOML_BYTES = 1 << 20
_INTEGERS = range(-(2**63), 2**63)  # TOML 1.0, section "Integer": others can't be represented everywhere
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_DOTS = 1000  # in a line: tomllib's time grows with the square of a key's length
_MAX_SHOWN = 80  # characters of a wrong value in an error


ConfigT = TypeVar("ConfigT", bound="Config")


class Config(BaseModel):
    """Base of all configs: immutable, complete, without unknown keys, infinities and NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    def replaced(self: ConfigT, **changes: Any) -> ConfigT:
        """The config with other values, checked again; `model_copy` wouldn't check them.

        Raises:
            ConfigError: a key is unknown, or a value is wrong.
        """
        return parse_config({**dict(self), **changes}, type(self), source=type(self).__name__)


def load_config(path: str | Path, kind: type[ConfigT], overrides: Sequence[str] = ()) -> ConfigT:
    """Config from a TOML file or a bundled config's name, with overrides such as `optimizer.lr=1e-4`.

    The values of overrides are TOML. A bare word, number or date for a text setting is text.

    Raises:
        ConfigError: the file is missing or not TOML, or a key is unknown, of the wrong type or out of range.
    """
    path = find_config(path)
    tree = read_toml(path)
    for override in overrides:
        _apply_override(tree, override, kind)
    return parse_config(_with_texts(tree, kind), kind, source=str(path))


def bundled_configs() -> dict[str, Path]:
    """The config files that the package ships, by name."""
    folder = Path(str(resources.files("vitascope"))) / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_config(path: str | Path) -> Path:
    """The file of a path or of a bundled config's name; an existing file wins.

    Raises:
        ConfigError: neither exists.
    """
    try:
        exists = Path(path).exists()
    except OSError:  # such as a name that is too long
        exists = False
    if exists:
        return Path(path)
    bundled = bundled_configs()
    if str(path) in bundled:
        return bundled[str(path)]
    known = f" or one of {', '.join(bundled)}" if bundled else ""
    raise ConfigError(f"no config file {_shortened(str(path))}; give a TOML file{known}")


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file of unknown origin: UTF-8, or UTF-16 with a byte order mark.

    Raises:
        ConfigError: no regular file, or one that can't be read or decoded; no TOML; an integer of more than 64 bits;
            more than 1 MiB or 64 levels.
    Source: TOML 1.0.0.
    """
    try:
        return _parse_toml(_decoded(read_small(path, MAX_TOML_BYTES)))
    except FileNotFoundError:
        raise ConfigError(f"no file {path}; check the path") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not a readable TOML file: {_shortened(reason(error))}") from None


def parse_config(tree: object, kind: type[ConfigT], source: str = "config") -> ConfigT:
    """Config from a nested dict of unknown origin.

    Raises:
        ConfigError: a key is unknown or wrong; the message names the first and counts the others. Also an integer of
            more than 64 bits, or a text with NUL or half of a surrogate pair.
    """
    try:
        config = kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: {validation_message(error)}") from None
    for key, value in _leaves(config):
        if problem := _problem(value):
            raise ConfigError(f"{source}: {key} {problem}")
    return config


def validation_message(error: ValidationError) -> str:
    """The first key that is unknown or wrong, what is wrong with it, and how many more there are."""
    first, *others = error.errors(include_url=False, include_context=False)
    key = _shortened(".".join(str(part) for part in first["loc"])) or "(root)"
    more = f" (and {len(others)} more)" if others else ""
    value = first["input"]
    if first["type"] == "missing":
        return f"{key}: is missing{more}"
    is_ours = first["type"] == "value_error"  # its message names the value
    got = "" if is_ours or not isinstance(value, (int, float, str, NoneType)) else f", got {_shown(value)}"
    return f"{key}: {' '.join(first['msg'].removeprefix('Value error, ').split())}{got}{more}"


def dump_toml(config: Config) -> str:
    """Config as TOML text with all resolved values; None is omitted."""
    return "\n".join(_toml_lines(config.model_dump(mode="json"), prefix="")) + "\n"


def _decoded(content: bytes) -> str:
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as PowerShell writes
    return content.decode("utf-16" if is_utf16 else "utf-8-sig")


def _parse_toml(text: str) -> dict[str, Any]:
    """The table that TOML describes. Raises ValueError."""
    if any(line.count(".") > _MAX_DOTS for line in text.splitlines()):
        raise ValueError(f"a line has more than {_MAX_DOTS} dots")
    try:
        tree = tomllib.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    if any(isinstance(node, int) and node not in _INTEGERS for node in walk(tree)):
        raise ValueError("an integer has more than 64 bits")
    return tree


def _leaves(node: object, key: str = "") -> Iterator[tuple[str, object]]:
    """All values of a config that are no containers, with their dotted keys."""
    if isinstance(node, BaseModel):
        parts: Iterable[tuple[Any, Any]] = node
    elif isinstance(node, dict):
        parts = node.items()
    elif isinstance(node, (list, tuple)):
        parts = enumerate(node)
    else:
        yield key, node
        return
    for name, part in parts:
        yield from _leaves(part, f"{key}.{name}".removeprefix("."))


def _problem(value: object) -> str | None:
    """The reason why a value can't be used or stored as a file's text."""
    if isinstance(value, int) and value not in _INTEGERS:
        return "is an integer of more than 64 bits"
    if isinstance(value, (str, Path)) and "\0" in str(value):
        return "has a NUL character; remove it"
    if isinstance(value, str) and _SURROGATE.search(value):
        return "has half of a surrogate pair, which no text file can hold; remove it"
    return None


def _apply_override(tree: dict[str, Any], override: str, kind: type[BaseModel]) -> None:
    dotted, equals, text = override.partition("=")
    shown = repr(_shortened(override))
    if not equals or not dotted.strip():
        raise ConfigError(f"override {shown} is not of the form key=value; write such as optimizer.lr=1e-4")
    *parents, leaf = dotted.strip().split(".")
    if len(parents) >= MAX_DEPTH:
        raise ConfigError(f"override {shown}: more than {MAX_DEPTH} nested sections")
    node, wanted = tree, kind
    for parent in parents:
        node, wanted = node.setdefault(parent, {}), _annotation(wanted, parent)
        if not isinstance(node, dict):
            raise ConfigError(f"override {shown}: {parent} is a value, not a section; override {parent} itself")
    node[leaf] = _override_value(text, is_text=_is_text(_annotation(wanted, leaf)))


def _override_value(text: str, *, is_text: bool) -> Any:
    """The value of a TOML expression; another text is a bare word, and so is a scalar for a text setting."""
    try:
        table = _parse_toml(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    except ValueError as error:
        if is_text:
            return text
        raise ConfigError(f"override value {_shortened(text)!r}: {reason(error)}") from None
    value = table["value"]
    if len(table) > 1 or (is_text and not isinstance(value, (str, list, dict))):
        return text
    return value


def _with_texts(value: Any, annotation: Any) -> Any:
    """The parsed value with numbers and dates as text where the config's types want text."""
    if isinstance(value, dict):
        return {key: _with_texts(item, _annotation(annotation, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_texts(item, _annotation(annotation, index)) for index, item in enumerate(value)]
    if _is_text(annotation) and not isinstance(value, (str, bool)):
        return str(value)
    return value


def _annotation(annotation: Any, key: str | int) -> Any:
    """The type of a config's field, or of an item of a list or table; None if it isn't known."""
    for choice in _choices(annotation):
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            field = choice.model_fields.get(str(key))
            return None if field is None else field.annotation
        items = [item for item in get_args(choice) if item is not Ellipsis]
        match get_origin(choice):
            case container if container is list and isinstance(key, int):
                return items[0]
            case container if container is tuple and isinstance(key, int):
                return items[min(key, len(items) - 1)] if items else None
            case container if container is dict and isinstance(key, str):
                return items[1]
    return None


def _is_text(annotation: Any) -> bool:
    """True if a type takes text and nothing else."""
    choices = _choices(annotation)
    return bool(choices) and all(
        choice in (str, Path)
        or (get_origin(choice) is Literal and all(isinstance(item, str) for item in get_args(choice)))
        for choice in choices
    )


def _choices(annotation: Any) -> list[Any]:
    """The members of a union, without None; a list of the type itself for others."""
    if get_origin(annotation) is Annotated:
        return _choices(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [each for choice in get_args(annotation) for each in _choices(choice)]
    return [] if annotation in (None, NoneType) else [annotation]


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


def _shown(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    return _shortened(repr(value))


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_SHOWN else f"{line[:_MAX_SHOWN]}..."
