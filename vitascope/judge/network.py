"""The judge: reads attributes off a video and captions it.

    video -> preprocess: 17 frames, short side 64 -> VideoEncoder: convolutional stem over frames and frame
                                                         |         differences, attention over tokens of 2x16x16 pixels
    mark, words so far  -----------------------------> Decoder -> next word

The mark selects the output: the attribute sentence of `sentence.py`, or a caption in one language.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from torch import Tensor, nn

from vitascope.config import Config
from vitascope.errors import ModelError
from vitascope.files import read_stable
from vitascope.hub.weights import open_network
from vitascope.judge.sentence import Sentence, Slot, attributes_of, next_slot, write
from vitascope.judge.vocabulary import Vocabulary
from vitascope.kernels.attention import packed_attention
from vitascope.kernels.device import CPU, device_of
from vitascope.video import Video
from vitascope.video.cuts import strongest_cuts
from vitascope.video.pixels import resized
from vitascope.worlds.language import Language

CELL = 8  # stride of the stem in pixels, rows and columns
PAIR = 2  # frames in a token
MAX_ASPECT = 4  # pictures of a larger aspect ratio are squeezed to this one
NO_SHAPE = {"tokens", "temperature", "accuracy", "short_side", "max_frames"}  # may differ between compatible judges


class JudgeConfig(Config):
    """Shape and vocabulary of a judge.

    A trained one also has the temperature that calibrates its confidence, and its accuracy for each attribute on
    validation renders.
    """

    tokens: tuple[str, ...] = ()
    short_side: int = Field(default=64, ge=CELL, le=512, multiple_of=CELL)
    max_frames: int = Field(default=17, ge=1, le=1024)
    max_words: int = Field(default=192, ge=64, le=4096)  # of a sentence, with its mark
    # distances of the frame differences, in frames: short for fast motion, long for camera drift
    lags: tuple[int, ...] = (1, 4)
    stem_width: int = Field(default=32, ge=4, le=512, multiple_of=4)
    stem_blocks: int = Field(default=1, ge=0, le=16)  # at a quarter of the resolution, and again at an eighth
    token_cells: int = Field(default=2, ge=1, le=8)  # rows and columns of cells in a token
    width: int = Field(default=192, ge=8, le=4096, multiple_of=4)
    num_heads: int = Field(default=6, ge=1, le=64)
    encoder_layers: int = Field(default=6, ge=1, le=64)
    decoder_layers: int = Field(default=2, ge=1, le=64)
    temperature: float = Field(default=1.0, gt=0, le=100)
    accuracy: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> JudgeConfig:
        if any(lag < 1 for lag in self.lags):
            raise ValueError(f"lags {list(self.lags)} must be at least 1 frame each")
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")
        return self


@dataclass(frozen=True)
class Reading:
    """Attribute sentence that a judge read, with the confidence of each word given those before it."""

    sentence: Sentence
    confidence: dict[Slot, float]

    @property
    def attributes(self) -> dict[str, Any]:
        """The sentence as a record's attributes."""
        return attributes_of(self.sentence)


class Judge(nn.Module):
    """Reads attributes off a video and captions it. `Judge.load` reads one from a folder."""

    def __init__(self, config: JudgeConfig):
        super().__init__()
        self.config = config
        self.vocabulary = Vocabulary(config.tokens)
        self.encoder = VideoEncoder(config)
        self.decoder = Decoder(config, len(self.vocabulary))

    @classmethod
    def load(cls, folder: str | Path, *, device: torch.device = CPU) -> Judge:
        """The judge in a folder, without gradients.

        Raises:
            ModelError: config or weights are missing or damaged.
        """

        def load(part: Path) -> Judge:
            return open_network(part, "Judge", JudgeConfig, cls).load(device)

        return read_stable(Path(folder), load).requires_grad_(False)

    def forward(
        self, pixels: Float[Tensor, "b 3 t h w"], seconds: Float[Tensor, "b t"], words: Int64[Tensor, "b l"]
    ) -> Float[Tensor, "b l v"]:
        """Logits of the next word at each position; `words` begin with a mark."""
        return self.decoder(words, self.encoder(pixels, seconds))

    @torch.inference_mode()
    def read(self, video: Video) -> Reading:
        """Attributes of a video: the most likely word for each slot in turn.

        Logits are averaged over the video and its mirror image. Of several shots, settings and actions are read from
        each shot alone, where the judge sees more frames; actors are read from the whole video.
        """
        whole = self._finish({}, video)
        parts = shots_of(video, int(whole.sentence[Slot("shots")]))
        if len(parts) == 1:
            return whole
        cast = {slot: value for slot, value in whole.sentence.items() if slot.shot is None}
        sentence = dict(cast)
        confidence = {slot: sure for slot, sure in whole.confidence.items() if slot.shot is None}
        for number, part in enumerate(parts):
            alone = self._finish({**cast, Slot("shots"): "1"}, part)
            for slot, sure in alone.confidence.items():
                here = slot._replace(shot=number)
                sentence[here], confidence[here] = alone.sentence[slot], sure
        return Reading(sentence, confidence)

    def _finish(self, begun: Sentence, video: Video) -> Reading:
        """A started sentence completed from a video, with the confidence of the new words."""
        memory, sentence, confidence = self.encode(video), dict(begun), {}
        words = [self.vocabulary.mark("attributes"), *(self.vocabulary.ids[token] for token in write(begun))]
        while (slot := next_slot(sentence)) is not None:
            choices = self.vocabulary.choices[slot.attribute]
            logits = self.attribute_logits(torch.tensor(words), memory)[-1, choices]
            best = int(logits.argmax())
            confidence[slot] = (logits / self.config.temperature).softmax(0)[best].item()
            words.append(choices[best])
            sentence[slot] = self.vocabulary.tokens[choices[best]].partition(":")[2]
        return Reading(sentence, confidence)

    @torch.inference_mode()
    def caption(self, video: Video, language: Language) -> str:
        """Caption in a language, from the most likely word at each step."""
        memory, words = self.encode(video, mirrored=False), [self.vocabulary.mark(language)]
        choices = [self.vocabulary.end, *self.vocabulary.words]
        while len(words) < self.config.max_words:
            written = torch.tensor([words], device=memory.device)
            word = choices[int(self.decoder(written, memory)[0, -1, choices].argmax())]
            if word == self.vocabulary.end:
                break
            words.append(word)
        return self.vocabulary.decode_caption(words[1:], language)

    @torch.inference_mode()
    def trunk(self, video: Video) -> Float[Tensor, " d"]:
        """Mean of the encoder's tokens of a video."""
        return self.encode(video, mirrored=False)[0].mean(dim=0)

    def encode(self, video: Video, *, mirrored: bool = True) -> Float[Tensor, "views n d"]:
        """The encoder's tokens of a video and, if `mirrored`, of its mirror image."""
        frames, seconds = preprocess(video, self.config)
        signal = to_signal(frames[None])
        signals = torch.cat([signal, signal.flip(-1)]) if mirrored else signal
        device = device_of(self)
        times = torch.from_numpy(seconds).expand(len(signals), -1)
        return self.encoder(signals.to(device), times.to(device))

    def attribute_logits(self, words: Int64[Tensor, " l"], memory: Float[Tensor, "2 n d"]) -> Float[Tensor, "l v"]:
        """Logits of the next attribute word at each position: the mean over both views, mirrored back."""
        mirrored = torch.tensor(self.vocabulary.mirrored, device=memory.device)
        words = words.to(memory.device)
        own, other = self.decoder(torch.stack([words, mirrored[words]]), memory)
        return 0.5 * (own + other[:, mirrored])


@torch.no_grad()
def load_compatible(judge: Judge, other: Judge) -> None:
    """Copy another judge's weights. Words missing from its vocabulary keep their own embeddings.

    Video size and length may differ. The source may have fewer lags: weights of additional ones become 0.

    Raises:
        ModelError: a judge of another shape.
    """
    shapes = [each.config.model_dump(exclude=NO_SHAPE) for each in (other, judge)]
    shared = len(other.config.lags)
    if judge.config.lags[:shared] == other.config.lags:
        del shapes[0]["lags"], shapes[1]["lags"]
    differing = ", ".join(
        f"{key} {value}, not {shapes[1][key]}" for key, value in shapes[0].items() if value != shapes[1][key]
    )
    if differing:
        raise ModelError(f"the judge to start from has {differing}: give the run's [judge] the same, or leave init out")
    tensors, mine = other.state_dict(), judge.decoder.words.weight.clone()
    stem = tensors["encoder.stem.0.weight"]
    tensors["encoder.stem.0.weight"] = F.pad(stem, (0, 0, 0, 0, 0, 3 * (len(judge.config.lags) - shared)))
    for number, token in enumerate(judge.config.tokens):
        if token in other.vocabulary.ids:
            mine[number] = tensors["decoder.words.weight"][other.vocabulary.ids[token]]
    judge.load_state_dict({**tensors, "decoder.words.weight": mine})


def shots_of(video: Video, num: int) -> list[Video]:
    """The video split at its `num` - 1 strongest cuts; undivided if it has fewer."""
    cuts = strongest_cuts(video.frames, num - 1)
    if len(cuts) < num - 1:
        return [video]
    return [Video(video.frames[start:stop], video.fps) for start, stop in pairwise([0, *cuts, video.num_frames])]


def preprocess(video: Video, config: JudgeConfig) -> tuple[np.ndarray, np.ndarray]:
    """(frames, seconds): uint8 frames [t, h, w, 3] at the judge's size, and the float32 time of each."""
    chosen = input_frames(video.num_frames, config.max_frames)
    height, width = input_size(video.height, video.width, config.short_side)
    return resized(video.frames[chosen], height, width), (chosen / float(video.fps)).astype(np.float32)


def input_frames(num_frames: int, max_frames: int) -> Int64[np.ndarray, " t"]:
    """Indices of the frames that the judge sees: all, or evenly spaced from the first to the last."""
    return np.linspace(0, num_frames - 1, min(num_frames, max_frames)).round().astype(np.int64)


def input_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) with this short side and the video's aspect, both multiples of a cell."""
    aspect = min(MAX_ASPECT, max(height, width) / min(height, width))
    long_side = CELL * round(short_side * aspect / CELL)
    return (short_side, long_side) if height <= width else (long_side, short_side)


def to_signal(frames: np.ndarray) -> Float[Tensor, "b 3 t h w"]:
    """Frames uint8 [b, t, h, w, 3] scaled to [-1, 1]."""
    return rearrange(torch.from_numpy(frames), "b t h w c -> b c t h w").float() / 127.5 - 1


class VideoEncoder(nn.Module):
    """Frames to tokens: a convolutional stem over frames and frame differences, then attention in space and time."""

    def __init__(self, config: JudgeConfig):
        super().__init__()
        s, num = config.stem_width, config.stem_blocks
        self.lags, self.token_cells = config.lags, config.token_cells
        self.stem = nn.Sequential(
            *(nn.Conv2d(3 * (1 + len(config.lags)), s, 3, stride=2, padding=1), nn.GELU()),
            *(nn.Conv2d(s, 2 * s, 3, stride=2, padding=1), nn.GELU(), *(ConvBlock(2 * s) for _ in range(num))),
            *(nn.Conv2d(2 * s, 4 * s, 3, stride=2, padding=1), nn.GELU(), *(ConvBlock(4 * s) for _ in range(num))),
        )
        self.to_token = nn.Linear(PAIR * self.token_cells**2 * 4 * s, config.width)
        self.blocks = nn.ModuleList(Block(config, sees_video=False) for _ in range(config.encoder_layers))
        self.norm = nn.RMSNorm(config.width)

    def forward(self, pixels: Float[Tensor, "b 3 t h w"], seconds: Float[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        """Tokens in the order time, row, column. An odd last frame is repeated; incomplete tokens are zero-padded."""
        num_videos = len(pixels)
        if pixels.shape[2] % PAIR:
            pixels, seconds = torch.cat([pixels, pixels[:, :, -1:]], dim=2), torch.cat([seconds, seconds[:, -1:]], 1)
        changes = (pixels - delayed(pixels, lag) for lag in self.lags)  # motion at full resolution
        frames = rearrange(torch.cat([pixels, *changes], dim=1), "b c t h w -> (b t) c h w")
        features = self.stem(frames.contiguous(memory_format=torch.channels_last))  # a third faster on a CPU
        moment = sinusoids(seconds.flatten(), features.shape[1], shortest=0.25, longest=64.0)
        features = features + rearrange(moment, "bt c -> bt c 1 1")
        k = self.token_cells
        features = F.pad(features, (0, -features.shape[3] % k, 0, -features.shape[2] % k))
        groups = rearrange(features, "(b t p) c (h y) (w x) -> b t h w (p y x c)", b=num_videos, p=PAIR, y=k, x=k)
        x = self.to_token(groups)
        place = cell_places(*x.shape[2:]).to(x.device)
        x = rearrange(x.float() + place, "b t h w d -> b (t h w) d")  # fp32 residual stream under autocast
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class ConvBlock(nn.Module):
    """Residual block that starts as the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.inwards, self.outwards = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.outwards.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The features plus the block's output."""
        return x + self.outwards(F.gelu(self.inwards(self.norm(x))))


class Decoder(nn.Module):
    """Causal decoder: maps a video's tokens and the words so far to logits of the next word."""

    def __init__(self, config: JudgeConfig, num_tokens: int):
        super().__init__()
        self.words = nn.Embedding(num_tokens, config.width)
        self.positions = nn.Embedding(config.max_words, config.width)
        self.blocks = nn.ModuleList(Block(config, sees_video=True) for _ in range(config.decoder_layers))
        self.norm = nn.RMSNorm(config.width)
        for table in (self.words, self.positions):
            nn.init.normal_(table.weight, std=0.02)  # small: the word table is also the output projection

    def forward(self, words: Int64[Tensor, "b l"], memory: Float[Tensor, "b n d"]) -> Float[Tensor, "b l v"]:
        """Logits of the next word at each position."""
        x = self.words(words) + self.positions.weight[: words.shape[1]]
        for block in self.blocks:
            x = block(x, memory)
        return self.norm(x) @ self.words.weight.T


class Block(nn.Module):
    """Self-attention and MLP. With `sees_video`, self-attention is causal and cross-attention to a video follows."""

    def __init__(self, config: JudgeConfig, *, sees_video: bool):
        super().__init__()
        d = config.width
        self.attention_norm, self.attention = nn.RMSNorm(d), Attention(d, config.num_heads, causal=sees_video)
        self.video_norm = nn.RMSNorm(d) if sees_video else None
        self.video_attention = Attention(d, config.num_heads, causal=False) if sees_video else None
        self.mlp_norm, self.mlp = nn.RMSNorm(d), nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def forward(self, x: Float[Tensor, "b n d"], memory: Float[Tensor, "b m d"] | None = None) -> Tensor:
        """The tokens after the block."""
        own = self.attention_norm(x)
        x = x + self.attention(own, own)
        if self.video_attention is not None:
            assert self.video_norm is not None
            assert memory is not None
            x = x + self.video_attention(self.video_norm(x), memory)
        return x + self.mlp(self.mlp_norm(x))


class Attention(nn.Module):
    """Multi-head attention from tokens to a context."""

    def __init__(self, width: int, num_heads: int, *, causal: bool):
        super().__init__()
        self.num_heads, self.causal = num_heads, causal
        self.to_query = nn.Linear(width, width, bias=False)
        self.to_key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Float[Tensor, "b n d"], context: Float[Tensor, "b m d"]) -> Float[Tensor, "b n d"]:
        """Attended values per token. For causal attention the context is the tokens themselves."""
        q, k, v = (
            rearrange(part, "b n (heads d) -> (b n) heads d", heads=self.num_heads)
            for part in (self.to_query(x), *self.to_key_value(context).chunk(2, dim=-1))
        )
        b, n, m = len(x), x.shape[1], context.shape[1]
        if self.causal:
            q, k, v = (rearrange(part, "(b n) heads d -> b heads n d", b=b) for part in (q, k, v))
            gathered = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out(rearrange(gathered, "b heads n d -> b n (heads d)"))
        gathered = packed_attention(q, k, v, [n] * b, [m] * b)
        return self.out(rearrange(gathered, "(b n) heads d -> b n (heads d)", b=b))


def delayed(frames: Float[Tensor, "b c t h w"], lag: int) -> Float[Tensor, "b c t h w"]:
    """For each frame the one `lag` frames earlier; the first frame where there is none."""
    return torch.cat([frames[:, :, :1].expand(-1, -1, lag, -1, -1), frames], dim=2)[:, :, : frames.shape[2]]


def sinusoids(
    values: Float[Tensor, " n"], width: int, *, shortest: float, longest: float
) -> Float[Tensor, "n {width}"]:
    """Cosines and sines of values, with periods in geometric steps from the shortest to the longest."""
    steps = torch.linspace(0, 1, width // 2, device=values.device)
    angles = values[:, None] * (2 * math.pi / shortest) * (shortest / longest) ** steps
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def cell_places(rows: int, columns: int, width: int) -> Float[Tensor, "{rows} {columns} {width}"]:
    """Position embedding of each token of a frame: half the channels for its row, half for its column."""
    row, column = (
        sinusoids(torch.arange(float(count)), width // 2, shortest=2.0, longest=64.0) for count in (rows, columns)
    )
    return torch.cat([rearrange(row, "h d -> h 1 d").expand(-1, columns, -1), column.expand(rows, -1, -1)], dim=-1)
