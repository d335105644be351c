"""The text encoder: prompts to token states. A frozen BERT, loaded from a folder of safetensors and JSON."""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from tokenizers import Tokenizer
from torch import Tensor

from vitascope.errors import ModelError, PromptError, reason
from vitascope.files import MAX_JSON_BYTES, read_small
from vitascope.kernels.device import CPU, without_autocast
from vitascope.model.bert_files import check_shapes, read_bert_config, read_weights, weight_shapes
from vitascope.types import MAX_CHARACTERS

_CHARSMAP = re.compile(r'"precompiled_charsmap"\s*:\s*"([^"]*)"')
_PRECOMPILED = re.compile(r'"type"\s*:\s*"Precompiled"')
_SPECIAL = re.compile(r"</?s>|<pad>|<unk>|<mask>")  # the tokenizer would read them as special tokens


@runtime_checkable
class PromptEncoder(Protocol):
    """A text encoder, as generation uses it. `TextEncoder` is the bundled one; other models have their own."""

    @property
    def width(self) -> int:
        """Values in a token's state."""
        ...

    @property
    def num_parameters(self) -> int:
        """Parameters of the network."""
        ...

    @property
    def num_bytes(self) -> int:
        """Bytes of the network's weights."""
        ...

    @property
    def min_tokens(self) -> int:
        """Number of states of the shortest prompt."""
        ...

    @property
    def max_tokens(self) -> int:
        """Number of states of the longest prompt."""
        ...

    def encode(self, prompts: Sequence[str]) -> list[Float[Tensor, "_l e"]]:
        """Float32 states of each prompt, in order; "" gives the states of the empty prompt."""
        ...

    def to(self, device: torch.device) -> PromptEncoder:
        """This encoder on another device."""
        ...


def distinct_states(states: Float[Tensor, "l e"]) -> tuple[Float[Tensor, "l2 e"], Int64[Tensor, " l2"] | None]:
    """(states, counts) with equal neighbours merged. Counts are on the CPU, or None if no neighbours are equal.

    Wan pads its prompts to 512 states, most of them equal: attention needs one of those, weighted by its count.
    """
    if states.is_meta:  # no values to compare
        return states, None
    once, counts = torch.unique_consecutive(states, dim=0, return_counts=True)
    return (states, None) if len(once) == len(states) else (once, counts.to(CPU))


@dataclass(frozen=True)
class TextEncoder:
    """A frozen encoder of English and Chinese prompts with one state per token. `TextEncoder.load` creates one."""

    weights: dict[str, Tensor]  # BERT's own names, float32
    tokenizer: Tokenizer
    num_layers: int
    num_heads: int
    max_tokens: int  # of a prompt, prefix and special tokens included
    epsilon: float
    prefix: str

    @property
    def width(self) -> int:
        """Width of a token's state."""
        return self.weights["embeddings.word_embeddings.weight"].shape[1]

    @property
    def num_parameters(self) -> int:
        """Parameters of the network."""
        return sum(weight.numel() for weight in self.weights.values())

    @property
    def num_bytes(self) -> int:
        """Bytes of the network's weights."""
        return sum(weight.numel() * weight.element_size() for weight in self.weights.values())

    @property
    def min_tokens(self) -> int:
        """Number of states of the empty prompt: its special tokens and the prefix."""
        return len(self._token_ids(""))

    @property
    def device(self) -> torch.device:
        """The device of the weights and of the states."""
        return self.weights["embeddings.word_embeddings.weight"].device

    @classmethod
    def load(cls, folder: Path, tokenizer_folder: Path | None = None, *, weights: bool = True) -> TextEncoder:
        """The encoder in a folder with config.json and model.safetensors, on the CPU.

        tokenizer.json is read from `tokenizer_folder`, by default `folder` or its neighbour `tokenizer`. With
        weights=False the weights are on the meta device: sizes without values.

        Raises:
            ModelError: a file is missing or damaged, or describes an unsupported network.
        """
        folder = Path(folder)
        config = read_bert_config(folder / "config.json")
        if tokenizer_folder is None:
            tokenizer_folder = folder if (folder / "tokenizer.json").exists() else folder.parent / "tokenizer"
        shapes = weight_shapes(config)
        if weights:
            table = read_weights(folder / "model.safetensors")
            check_shapes(table, shapes, folder)
        else:
            table = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        path = Path(tokenizer_folder) / "tokenizer.json"
        tokenizer = read_tokenizer(path, config.vocab_size)
        if len(token_ids(tokenizer, "", config.vocab_size)) < 2:
            raise ModelError(f"{path} adds no special tokens around a text; this encoder needs them")
        return cls(
            weights=table,
            tokenizer=tokenizer,
            num_layers=config.num_hidden_layers,
            num_heads=config.num_attention_heads,
            max_tokens=config.max_position_embeddings,
            epsilon=config.layer_norm_eps,
            prefix=config.text_prefix,
        )

    def to(self, device: torch.device | str) -> TextEncoder:
        """The same encoder with its weights on another device."""
        return replace(self, weights={name: weight.to(device) for name, weight in self.weights.items()})

    def encode(self, prompts: Sequence[str], batch_size: int = 32) -> list[Float[Tensor, "_l e"]]:
        """One float32 tensor of token states for each prompt, in order, without padding.

        "" gives the states of the empty prompt, for unconditional sampling. Apart from rounding, a result does not
        depend on the rest of its batch.

        Raises:
            PromptError: a prompt of more than `max_tokens` tokens.
        """
        ids = [self._token_ids(prompt) for prompt in prompts]
        by_length = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        states: dict[int, Tensor] = {}
        for first in range(0, len(ids), batch_size):
            members = by_length[first : first + batch_size]
            longest = len(ids[members[-1]])
            padded = torch.tensor([ids[i] + [0] * (longest - len(ids[i])) for i in members], device=self.device)
            lengths = torch.tensor([len(ids[i]) for i in members], device=self.device)
            present = torch.arange(longest, device=self.device) < lengths[:, None]
            # a trainer's autocast would round these fp32 products
            with torch.inference_mode(), without_autocast(self.device):
                batch = self._forward(padded, present)
            for i, state in zip(members, batch, strict=True):
                states[i] = state[: len(ids[i])].clone()  # a copy created outside inference mode may enter a graph
        return [states[i] for i in range(len(ids))]

    def _token_ids(self, prompt: str) -> list[int]:
        text = self.prefix + _SPECIAL.sub(" ", prompt).strip()
        num_words = self.weights["embeddings.word_embeddings.weight"].shape[0]
        begin, *inner, end = token_ids(self.tokenizer, text, num_words)
        marks = {begin, end, self.tokenizer.token_to_id("<pad>"), self.tokenizer.token_to_id("<mask>")}
        ids = [
            begin,
            *(token for token in inner if token not in marks),
            end,
        ]  # full-width spellings are read as special tokens too
        if len(ids) > self.max_tokens:
            raise PromptError(f"the prompt has {len(ids)} tokens; the limit is {self.max_tokens}, shorten it")
        return ids

    def _forward(self, ids: Int64[Tensor, "b l"], present: Bool[Tensor, "b l"]) -> Float[Tensor, "b l e"]:
        """Token states of a padded batch; padding has states too.

        Source: Devlin et al. 2018 (arXiv:1810.04805); layer norms after the sums, exact GELU.
        """
        table = self.weights
        x = table["embeddings.word_embeddings.weight"][ids]
        x = x + table["embeddings.token_type_embeddings.weight"][0]
        x = x + table["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = self._norm(x, "embeddings.LayerNorm")
        for layer in range(self.num_layers):
            name = f"encoder.layer.{layer}"
            attended = self._linear(
                self._attend(x, present, f"{name}.attention.self"), f"{name}.attention.output.dense"
            )
            x = self._norm(x + attended, f"{name}.attention.output.LayerNorm")
            hidden = F.gelu(self._linear(x, f"{name}.intermediate.dense"))
            x = self._norm(x + self._linear(hidden, f"{name}.output.dense"), f"{name}.output.LayerNorm")
        return x

    def _attend(self, x: Float[Tensor, "b l e"], present: Bool[Tensor, "b l"], name: str) -> Float[Tensor, "b l e"]:
        q, k, v = (
            rearrange(self._linear(x, f"{name}.{part}"), "b l (heads d) -> b heads l d", heads=self.num_heads)
            for part in ("query", "key", "value")
        )
        mask = rearrange(present, "b l -> b 1 1 l")
        return rearrange(F.scaled_dot_product_attention(q, k, v, attn_mask=mask), "b heads l d -> b l (heads d)")

    def _linear(self, x: Float[Tensor, "b l i"], name: str) -> Float[Tensor, "b l o"]:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: Float[Tensor, "b l e"], name: str) -> Float[Tensor, "b l e"]:
        scale, shift = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(x, (self.width,), scale, shift, self.epsilon)


def check_prompt(text: str) -> str:
    """The prompt without surrounding whitespace.

    Raises:
        PromptError: the prompt is empty or invisible, has more than 32,000 characters, or has control characters other
            than line breaks and tabs.
    """
    if len(text) > MAX_CHARACTERS:
        raise PromptError(f"the prompt has {len(text):,} characters; the limit is {MAX_CHARACTERS:,}, shorten it")
    for character in text:
        if character not in "\n\r\t" and unicodedata.category(character) in ("Cc", "Cs"):
            raise PromptError(f"the prompt has the control character U+{ord(character):04X}; remove it")
    if all(character.isspace() or unicodedata.category(character) == "Cf" for character in text):
        raise PromptError("the prompt is empty; describe the video")
    return text.strip()


def shot_prompt(common: str, text: str) -> str:
    """The prompt of one of several shots: the text common to all, then the shot's own, as one text."""
    common, text = common.strip(), text.strip()
    if not common:
        return text
    chinese = re.search(r"[\u3400-\u9fff]", common + text) is not None
    ends = common[-1] in ".。!！?？…"
    return f"{common}{'' if ends else '。' if chinese else '.'}{'' if chinese else ' '}{text}"


def read_tokenizer(path: Path, num_words: int) -> Tokenizer:
    """The tokenizer in a file, without padding and truncation, for an encoder of `num_words` word vectors.

    Raises:
        ModelError: a file that is missing, damaged or too large, or that has more tokens than the encoder.
    """
    try:
        text = read_small(path, MAX_JSON_BYTES).decode("utf-8-sig")
        _check_charsmaps(text)
        tokenizer = Tokenizer.from_str(text)
        tokenizer.no_padding()
        tokenizer.no_truncation()
    except FileNotFoundError:
        raise ModelError(f"no file {path}; download the tokenizer's folder again") from None
    except BaseException as error:
        raise _tokenizer_error(error, f"{path} is not a readable tokenizer") from None
    if tokenizer.get_vocab_size() > num_words:
        raise ModelError(
            f"{path} has {tokenizer.get_vocab_size()} tokens, and the encoder has {num_words} word vectors; "
            "give the tokenizer that it was trained with"
        )
    token_ids(tokenizer, "a 1", num_words)  # some damage shows only here
    return tokenizer


def token_ids(tokenizer: Tokenizer, text: str, num_words: int) -> list[int]:
    """The text's tokens.

    Raises:
        ModelError: the tokenizer is damaged, or gives a token that has no word vector.
    """
    try:
        ids = tokenizer.encode(text).ids
    except BaseException as error:
        raise _tokenizer_error(error, "the tokenizer failed") from None
    if max(ids, default=0) >= num_words:
        raise ModelError(f"the tokenizer gives token {max(ids)}, and the encoder has {num_words} word vectors")
    return ids


def _tokenizer_error(error: BaseException, problem: str) -> BaseException:
    """The error to raise: `tokenizers` raises bare Exceptions, and Rust's panics, which are no Exceptions."""
    if isinstance(error, Exception) or type(error).__name__ == "PanicException":
        return ModelError(f"{problem} ({reason(error)[:200]}); download it again")
    return error


def _check_charsmaps(text: str) -> None:
    """Refuse SentencePiece maps that `tokenizers` panics at. Each is base64 of a size, a table of that size, and UTF-8.

    A panic is an exception here, but prints its own lines first.
    """
    maps = _CHARSMAP.findall(text)
    if len(maps) != len(_PRECOMPILED.findall(text)):
        raise ValueError("a Precompiled normalizer lacks its precompiled_charsmap")
    for encoded in maps:
        content = base64.b64decode(encoded, validate=True)
        size = int.from_bytes(content[:4], "little")
        if len(content) < 4 or size % 4 or size > len(content) - 4:
            raise ValueError("a damaged precompiled_charsmap")
        content[4 + size :].decode()
