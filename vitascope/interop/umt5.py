"""umT5 of `transformers` as a text encoder: what Wan's models read prompts with. Needs the extra `interop`."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.errors import ModelError, PromptError, reason
from vitascope.interop.diffusers_folder import Stored, file_of_tensor, place
from vitascope.weights import read_json

CLASS = "UMT5EncoderModel"
WEIGHTS = "model.safetensors"
WORDS = "shared.weight"
TIED = (WORDS, "encoder.embed_tokens.weight")  # one table under two names
NUM_STATES = 512


@dataclass(frozen=True)
class UMT5Encoder:
    """A frozen umT5: 512 states for each prompt. Those past its end are zero, and Wan's attention sees them."""

    network: nn.Module
    tokenizer: Any

    @property
    def width(self) -> int:
        """Values in a token's state."""
        return self.network.get_parameter(WORDS).shape[1]

    @property
    def num_parameters(self) -> int:
        """How many numbers the network's weights hold."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def num_bytes(self) -> int:
        """Memory of the network's weights."""
        return sum(parameter.numel() * parameter.element_size() for parameter in self.network.parameters())

    @property
    def min_tokens(self) -> int:
        """States of the shortest prompt."""
        return NUM_STATES

    @property
    def max_tokens(self) -> int:
        """States of the longest prompt."""
        return NUM_STATES

    def to(self, dtype: torch.dtype) -> UMT5Encoder:
        """The encoder in another precision."""
        return UMT5Encoder(self.network.to(dtype), self.tokenizer)

    def encode(self, prompts: Sequence[str]) -> list[Float[Tensor, "l e"]]:
        """Float32 states of each prompt, in order.

        Raises:
            PromptError: a prompt of more than 512 tokens.
        """
        return [self._states(clean_prompt(prompt)) for prompt in prompts]

    @torch.inference_mode()
    def _states(self, prompt: str) -> Float[Tensor, "l e"]:
        ids = self.tokenizer(prompt).input_ids
        if len(ids) > NUM_STATES:
            raise PromptError(f"the prompt has {len(ids)} tokens; the limit is {NUM_STATES}, shorten it")
        # without padding: a token attends to the prompt alone, so only what follows it has to be filled up
        states = self.network(torch.tensor([ids])).last_hidden_state[0].float()
        return nn.functional.pad(states, (0, 0, 0, NUM_STATES - len(ids)))


@dataclass(frozen=True)
class StoredUMT5:
    """An encoder without its weights, as a folder's config describes it, and its tokenizer."""

    network: nn.Module
    tokenizer: Any
    folder: Path

    @property
    def empty(self) -> UMT5Encoder:
        """The encoder on the meta device: it has a size, and can't encode."""
        return UMT5Encoder(self.network, self.tokenizer)

    def check(self) -> Stored[nn.Module]:
        """Where its weights lie, after all names and shapes were checked.

        Raises:
            ModelError: as `Stored.check`.
        """
        held = file_of_tensor(self.folder, WEIGHTS)
        words = next((name for name in TIED if name in held), WORDS)
        state = self.network.state_dict()
        places = {name: place(words if name in TIED else name, tensor) for name, tensor in state.items()}
        stored = Stored(self.network, places, self.folder, WEIGHTS, unused=frozenset(TIED) - {words})
        stored.check()
        return stored

    def load(self, dtype: torch.dtype) -> UMT5Encoder:
        """The encoder with its weights.

        Raises:
            ModelError: as `check`.
        """
        network = self.check().load(dtype).requires_grad_(False)
        words = network.get_submodule("shared")
        network.get_submodule("encoder").embed_tokens = words  # one table again, which counts once
        return UMT5Encoder(network, self.tokenizer)


def open_umt5(folder: Path, tokenizer_folder: Path) -> StoredUMT5:
    """The encoder in a folder that `transformers` wrote, without its weights.

    Raises:
        ModelError: a file is missing or damaged, holds a pickle, or another network.
        ModuleNotFoundError: the extra `interop` isn't installed.
    """
    import ftfy  # noqa: F401  (here, so that what is missing is told before anything is loaded)
    from transformers import UMT5Config, UMT5EncoderModel

    path = folder / "config.json"
    tree = read_json(path, cure=f"give the folder of a {CLASS}")
    if tree.get("model_type") != "umt5":
        raise ModelError(f"{path} describes {tree.get('model_type')!r}; give the folder of a {CLASS}")
    try:
        with torch.device("meta"):
            network = UMT5EncoderModel(UMT5Config.from_dict(tree))
    except Exception as error:  # `transformers` raises many kinds
        raise ModelError(f"{path}: {reason(error)}; this form of {CLASS} can't be loaded") from None
    return StoredUMT5(network, _read_tokenizer(tokenizer_folder, len(network.get_parameter(WORDS))), folder)


def clean_prompt(prompt: str) -> str:
    """The prompt as Wan's models were trained to see it: broken Unicode mended, HTML unescaped, blanks single."""
    import ftfy

    return " ".join(html.unescape(html.unescape(ftfy.fix_text(prompt))).split())


def _read_tokenizer(folder: Path, num_words: int) -> Any:
    from transformers import AutoTokenizer

    if not folder.is_dir():
        raise ModelError(f"{folder} is missing; download the model again")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # `transformers` raises many kinds
        raise ModelError(f"{folder} is not a readable tokenizer ({reason(error)}); download it again") from None
    if len(tokenizer) > num_words:
        raise ModelError(
            f"{folder} has {len(tokenizer)} tokens, and the encoder {num_words}; they don't belong together"
        )
    return tokenizer
