"""The judge: a video goes in, words come out, which say what it shows.

    video -> look: 17 frames, short side 64 -> VideoEncoder: convolutions of each frame and its changes, and tokens
                                                    |        of 2 x 16 x 16 pixels that attend to each other
    mark, words so far  ------------------------> Decoder -> the next word

The mark in front decides what is written: the attribute sentence of `sentence.py`, or a caption in a language.
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
from vitascope.hub.weights import open_network
from vitascope.judge.sentence import Sentence, Slot, attributes_of, next_slot, write
from vitascope.judge.vocabulary import Vocabulary
from vitascope.kernels.attention import packed_attention
from vitascope.kernels.device import CPU
from vitascope.video import Video
from vitascope.video.cuts import strongest_cuts
from vitascope.video.pixels import resized
from vitascope.worlds.language import Language

CELL = 8  # pixels that the stem makes one, in each of rows and columns
PAIR = 2  # frames in a token
MAX_ASPECT = 4  # longer pictures are squeezed to it


class JudgeConfig(Config):
    """The shape of a judge and all tokens that it knows.

    When trained also the temperature that makes its confidence honest, and how much it gets right: the share of each
    attribute, on renders kept from training.
    """

    tokens: tuple[str, ...] = ()
    short_side: int = Field(default=64, ge=CELL, le=512, multiple_of=CELL)
    max_frames: int = Field(default=17, ge=1, le=1024)
    max_words: int = Field(default=192, ge=64, le=4096)  # of a sentence, its mark included
    # frames that changes are over: what is fast shows in the first, a camera that drifts in the second
    lags: tuple[int, ...] = (1, 4)
    stem_width: int = Field(default=32, ge=4, le=512, multiple_of=4)
    stem_blocks: int = Field(default=1, ge=0, le=16)  # at a quarter of the resolution, and as many at an eighth
    token_cells: int = Field(default=2, ge=1, le=8)  # in a token, in each of rows and columns
    width: int = Field(default=192, ge=8, le=4096, multiple_of=4)
    num_heads: int = Field(default=6, ge=1, le=64)
    encoder_layers: int = Field(default=6, ge=1, le=64)
    decoder_layers: int = Field(default=2, ge=1, le=64)
    temperature: float = Field(default=1.0, gt=0, le=100)
    accuracy: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> JudgeConfig:
        if any(lag < 1 for lag in self.lags):
            raise ValueError(f"lags {list(self.lags)}: a change is over one frame or more")
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")
        return self


@dataclass(frozen=True)
class Reading:
    """What a judge saw: the attribute sentence, and how sure it is of each word, given those before it."""

    sentence: Sentence
    confidence: dict[Slot, float]

    @property
    def attributes(self) -> dict[str, Any]:
        """As a record of the world has them."""
        return attributes_of(self.sentence)


class Judge(nn.Module):
    """Reads attributes off a video and writes captions of it. `Judge.load` makes one of a folder."""

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
        return open_network(Path(folder), "Judge", JudgeConfig, cls).load(device).requires_grad_(False)

    def forward(
        self, pixels: Float[Tensor, "b 3 t h w"], seconds: Float[Tensor, "b t"], words: Int64[Tensor, "b l"]
    ) -> Float[Tensor, "b l v"]:
        """Logits of the word after each; `words` begin with a mark."""
        return self.decoder(words, self.encoder(pixels, seconds))

    @torch.inference_mode()
    def read(self, video: Video) -> Reading:
        """The attributes of a video, the likeliest word for each slot in turn.

        It looks twice, at the video and at its mirror image; of the latter it reads the mirrored words. What happens in
        each of several shots it reads of that shot alone, which it sees with more frames than amid the others; who is
        there it reads of all of them.
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
        """A sentence that has begun to its end, and the confidence of what was read: what a video shows."""
        memory, sentence, confidence = self.remember(video), dict(begun), {}
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
        """What the video shows, in a language: the likeliest word after each."""
        memory, words = self.remember(video, mirrored=False), [self.vocabulary.mark(language)]
        choices = [self.vocabulary.end, *self.vocabulary.words]
        while len(words) < self.config.max_words:
            word = choices[int(self.decoder(torch.tensor([words]), memory)[0, -1, choices].argmax())]
            if word == self.vocabulary.end:
                break
            words.append(word)
        return self.vocabulary.decode_caption(words[1:], language)

    @torch.inference_mode()
    def trunk(self, video: Video) -> Float[Tensor, " d"]:
        """What the encoder makes of a video: the mean over its tokens."""
        return self.remember(video, mirrored=False)[0].mean(dim=0)

    def remember(self, video: Video, *, mirrored: bool = True) -> Float[Tensor, "looks n d"]:
        """What the encoder makes of a video and, if `mirrored`, of its mirror image."""
        frames, seconds = look(video, self.config)
        signal = to_signal(frames[None])
        signals = torch.cat([signal, signal.flip(-1)]) if mirrored else signal
        return self.encoder(signals, torch.from_numpy(seconds).expand(len(signals), -1))

    def attribute_logits(self, words: Int64[Tensor, " l"], memory: Float[Tensor, "2 n d"]) -> Float[Tensor, "l v"]:
        """Of the attribute's word after each, the mean over both memories of what is the same in the mirror."""
        mirrored = torch.tensor(self.vocabulary.mirrored)
        own, other = self.decoder(torch.stack([words, mirrored[words]]), memory)
        return 0.5 * (own + other[:, mirrored])


def shots_of(video: Video, num: int) -> list[Video]:
    """The video cut where it most looks like cuts, into `num` shots; whole if nothing looks like that many."""
    cuts = strongest_cuts(video.frames, num - 1)
    if len(cuts) < num - 1:
        return [video]
    return [Video(video.frames[start:stop], video.fps) for start, stop in pairwise([0, *cuts, video.num_frames])]


def look(video: Video, config: JudgeConfig) -> tuple[np.ndarray, np.ndarray]:
    """What the judge sees of a video: uint8 frames [t, h, w, 3] at its own size, and the second of each, float32."""
    chosen = sight_frames(video.num_frames, config.max_frames)
    height, width = sight_size(video.height, video.width, config.short_side)
    return resized(video.frames[chosen], height, width), (chosen / float(video.fps)).astype(np.float32)


def sight_frames(num_frames: int, max_frames: int) -> Int64[np.ndarray, " t"]:
    """Which frames of a video the judge sees: all, or from the first to the last at equal distances."""
    return np.linspace(0, num_frames - 1, min(num_frames, max_frames)).round().astype(np.int64)


def sight_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) with this short side and the same aspect, in whole cells."""
    aspect = min(MAX_ASPECT, max(height, width) / min(height, width))
    long_side = CELL * round(short_side * aspect / CELL)
    return (short_side, long_side) if height <= width else (long_side, short_side)


def to_signal(frames: np.ndarray) -> Float[Tensor, "b 3 t h w"]:
    """uint8 frames [b, t, h, w, 3] as numbers in [-1, 1]."""
    return rearrange(torch.from_numpy(frames), "b t h w c -> b c t h w").float() / 127.5 - 1


class VideoEncoder(nn.Module):
    """Frames to tokens: a convolutional stem for each frame and its changes, then attention over space and time."""

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
        """Tokens in the order time, row, column.

        An odd last frame is paired with itself, and cells that don't fill a token have empty ones beside them.
        """
        num_videos = len(pixels)
        if pixels.shape[2] % PAIR:
            pixels, seconds = torch.cat([pixels, pixels[:, :, -1:]], dim=2), torch.cat([seconds, seconds[:, -1:]], 1)
        changes = (pixels - delayed(pixels, lag) for lag in self.lags)  # motion, at full resolution
        frames = rearrange(torch.cat([pixels, *changes], dim=1), "b c t h w -> (b t) c h w")
        features = self.stem(frames.contiguous(memory_format=torch.channels_last))  # a third faster on a CPU
        moment = sinusoids(seconds.flatten(), features.shape[1], shortest=0.25, longest=64.0)
        features = features + rearrange(moment, "bt c -> bt c 1 1")
        k = self.token_cells
        features = F.pad(features, (0, -features.shape[3] % k, 0, -features.shape[2] % k))
        groups = rearrange(features, "(b t p) c (h y) (w x) -> b t h w (p y x c)", b=num_videos, p=PAIR, y=k, x=k)
        x = self.to_token(groups)
        place = cell_places(*x.shape[2:]).to(x.device)
        x = rearrange(x.float() + place, "b t h w d -> b (t h w) d")  # what blocks add to stays fp32 under autocast
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class ConvBlock(nn.Module):
    """A residual block that leaves the features as they are until it has learned something."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.inwards, self.outwards = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.outwards.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The features, with what is found in them added."""
        return x + self.outwards(F.gelu(self.inwards(self.norm(x))))


class Decoder(nn.Module):
    """Words so far and a video's tokens to logits of the next word; no word sees those after it."""

    def __init__(self, config: JudgeConfig, num_tokens: int):
        super().__init__()
        self.words = nn.Embedding(num_tokens, config.width)
        self.positions = nn.Embedding(config.max_words, config.width)
        self.blocks = nn.ModuleList(Block(config, sees_video=True) for _ in range(config.decoder_layers))
        self.norm = nn.RMSNorm(config.width)
        for table in (self.words, self.positions):
            nn.init.normal_(table.weight, std=0.02)  # small: the table of words also makes the logits

    def forward(self, words: Int64[Tensor, "b l"], memory: Float[Tensor, "b n d"]) -> Float[Tensor, "b l v"]:
        """Logits of the word after each."""
        x = self.words(words) + self.positions.weight[: words.shape[1]]
        for block in self.blocks:
            x = block(x, memory)
        return self.norm(x) @ self.words.weight.T


class Block(nn.Module):
    """Attention among its own tokens, if `sees_video` only to those before and then to a video's, and an MLP."""

    def __init__(self, config: JudgeConfig, *, sees_video: bool):
        super().__init__()
        d = config.width
        self.attention_norm, self.attention = nn.RMSNorm(d), Attention(d, config.num_heads, causal=sees_video)
        self.video_norm = nn.RMSNorm(d) if sees_video else None
        self.video_attention = Attention(d, config.num_heads, causal=False) if sees_video else None
        self.mlp_norm, self.mlp = nn.RMSNorm(d), nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def forward(self, x: Float[Tensor, "b n d"], memory: Float[Tensor, "b m d"] | None = None) -> Tensor:
        """The tokens, with what they have gathered added."""
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
        """What each token gathers; a causal one has itself for context."""
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
    """For each frame the one `lag` before it, or the first where there is none."""
    return torch.cat([frames[:, :, :1].expand(-1, -1, lag, -1, -1), frames], dim=2)[:, :, : frames.shape[2]]


def sinusoids(
    values: Float[Tensor, " n"], width: int, *, shortest: float, longest: float
) -> Float[Tensor, "n {width}"]:
    """Cosines and sines of a value, with periods from the shortest to the longest in geometric steps."""
    steps = torch.linspace(0, 1, width // 2, device=values.device)
    angles = values[:, None] * (2 * math.pi / shortest) * (shortest / longest) ** steps
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def cell_places(rows: int, columns: int, width: int) -> Float[Tensor, "{rows} {columns} {width}"]:
    """Where each token of the picture is: half the channels for its row, half for its column."""
    row, column = (
        sinusoids(torch.arange(float(count)), width // 2, shortest=2.0, longest=64.0) for count in (rows, columns)
    )
    return torch.cat([rearrange(row, "h d -> h 1 d").expand(-1, columns, -1), column.expand(rows, -1, -1)], dim=-1)
