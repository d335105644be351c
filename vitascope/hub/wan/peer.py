"""Configs of another project's networks: reading them, and translating them into ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from vitascope.config import Config, parse_config
from vitascope.errors import ConfigError, ModelError, reason
from vitascope.files import read_json
from vitascope.hub.weights import CONFIG_FILE


class PeerConfig(BaseModel):
    """Base of another project's configs. Unknown keys of later releases are ignored: the weights must fit anyway."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


PeerT = TypeVar("PeerT", bound=PeerConfig)
OurT = TypeVar("OurT", bound=Config)


def read_config(folder: Path, class_name: str, config_type: type[PeerT]) -> PeerT:
    """The config in a network's folder.

    Raises:
        ModelError: config.json is missing, is not JSON, or describes another class or an unsupported form.
    """
    path = folder / CONFIG_FILE
    tree = read_json(path, cure=f"give the folder of a {class_name}")
    found = tree.get("_class_name")
    if found != class_name:
        raise ModelError(f"{path} describes {found!r}; give the folder of a {class_name}")
    return parse_peer(tree, config_type, class_name, path)


def parse_peer(tree: dict[str, Any], config_type: type[PeerT], class_name: str, path: Path) -> PeerT:
    """The config in a parsed JSON file, which describes a network of that class.

    Raises:
        ModelError: a form that our networks don't support.
    """
    try:
        return config_type.model_validate(tree)
    except ValueError as error:
        raise ModelError(f"{path}: {_first_complaint(error)}; this form of {class_name} can't be loaded") from None


def our_config(tree: dict[str, Any], config_type: type[OurT], folder: Path) -> OurT:
    """Our config from translated values.

    Raises:
        ModelError: a value outside the range of our networks.
    """
    try:
        return parse_config(tree, config_type, source=str(folder / CONFIG_FILE))
    except ConfigError as error:
        raise ModelError(f"{error}; this model can't be loaded") from None


def _first_complaint(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return reason(error)
    first = errors()[0]
    return f"{'.'.join(str(part) for part in first['loc']) or '(root)'}: {reason(ValueError(first['msg']))}"
