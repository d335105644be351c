"""The folder of the bundled text encoder, a BERT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from vitascope.files import read_json
from vitascope.hub.weights import CONFIG_FILE
from vitascope.model.text import TextEncoder


@dataclass(frozen=True)
class LazyBert:
    """A text encoder's folder and its tokenizer's, of which only the config was read."""

    folder: Path
    tokenizer_folder: Path
    width: int

    def check(self) -> None:
        """Nothing: `load` checks the weights, which are small."""

    def empty(self, dtype: torch.dtype) -> TextEncoder:
        """The encoder on the meta device, always float32."""
        return TextEncoder.load(self.folder, self.tokenizer_folder, weights=False)

    def load(self, device: torch.device, dtype: torch.dtype) -> TextEncoder:
        """The encoder with its weights, always float32.

        Raises:
            ModelError: a file is missing or damaged, or describes another network.
        """
        return TextEncoder.load(self.folder, self.tokenizer_folder).to(device)


def open_bert(folder: Path, tokenizer_folder: Path) -> LazyBert:
    """The encoder in a folder, without its weights.

    Raises:
        ModelError: config.json is missing or not JSON.
    """
    tree = read_json(folder / CONFIG_FILE, cure="give the folder of a text encoder")
    return LazyBert(folder, tokenizer_folder, width=int(tree.get("hidden_size", 0)))
