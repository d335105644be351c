"""Networks of Wan's form with random weights, as ours and as diffusers'.

diffusers builds and writes the peers, and `vitascope.hub` reads them, so both backends have the same weights.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from vitascope.codec.video_codec import VideoCodec
from vitascope.generate.pipeline import Pipeline
from vitascope.hub.card import PipelineConfig
from vitascope.hub.find import find_model
from vitascope.hub.registry import load_codec, load_transformer
from vitascope.hub.wan.transformer import save_wan_transformer
from vitascope.hub.weights import WEIGHTS_FILE
from vitascope.kernels.device import CPU
from vitascope.model.patches import unpatchify
from vitascope.model.transformer import Transformer

NUM_STATES = 512  # text states per prompt; Wan pads its prompts to this number
SHIFT, GUIDANCE, FPS = 3.0, 5.0, 16
PROMPT, NEGATIVE = "prompt", "negative"
NUM_WORDS = {PROMPT: 24, NEGATIVE: 60}  # states that are not padding


@dataclass(frozen=True)
class Scale:
    """Sizes of the transformer, its video, and the codecs."""

    layers: int
    heads: int
    head_dim: int
    ffn_width: int
    text_width: int
    num_frames: int
    height: int
    width: int
    image: int  # edge of the small images
    steps: int
    codecs: tuple[int, ...]  # base widths
    lengths: tuple[int, int] = (49, 1441)  # frames of a short video and of a long one, a minute at 24 fps
    long_edge: int = 64  # rows and columns of both

    @property
    def transformer(self) -> dict[str, Any]:
        """Keyword arguments of diffusers' class."""
        shape = {"num_layers": self.layers, "num_attention_heads": self.heads, "attention_head_dim": self.head_dim}
        return {**shape, "ffn_dim": self.ffn_width, "text_dim": self.text_width}


SCALES = {
    # for tests
    "tiny": Scale(2, 2, 16, 64, 32, 5, 32, 32, 32, 2, (4,), (9, 41), 16),
    # for a CPU: 30 million parameters, videos of 832 tokens
    "small": Scale(12, 6, 64, 1536, 4096, 49, 128, 128, 256, 8, (32, 96)),
    # for a GPU: Wan 2.1 T2V 1.3B at its usual size
    "1.3B": Scale(30, 12, 128, 8960, 4096, 81, 480, 832, 256, 8, (96,)),
}


class RandomStates:
    """A text encoder that returns random states padded with zeros; their values do not change the work."""

    def __init__(self, width: int, like: Tensor):
        generator = torch.Generator().manual_seed(1)
        self.states = {}
        for prompt, num_words in NUM_WORDS.items():
            states = torch.zeros(NUM_STATES, width)
            states[:num_words] = torch.randn(num_words, width, generator=generator)
            self.states[prompt] = states.to(like)
        self.width = width
        self.num_parameters = self.num_bytes = 0
        self.min_tokens = self.max_tokens = NUM_STATES

    def to(self, device: torch.device) -> RandomStates:
        """The same states on another device."""
        self.states = {prompt: states.to(device) for prompt, states in self.states.items()}
        return self

    def encode(self, prompts: Sequence[str]) -> list[Tensor]:
        """The states of each prompt."""
        return [self.states[prompt] for prompt in prompts]


class Networks:
    """Pairs of networks with equal weights: (ours, diffusers').

    With `tuned`, diffusers' networks are compiled and its codec's weights have channels last.
    """

    def __init__(
        self,
        scale: Scale,
        folder: Path,
        device: torch.device = CPU,
        dtype: torch.dtype = torch.float32,
        *,
        tuned: bool = False,
    ):
        self.scale, self._folder, self.device, self.dtype, self.tuned = scale, folder, device, dtype, tuned

    @property
    def folder(self) -> Path:
        """This process's folder, through which our networks get the peer's weights."""
        folder = self._folder / str(os.getpid())
        folder.mkdir(exist_ok=True)
        return folder

    def transformers(self) -> tuple[Transformer, Any]:
        """Transformers with random weights."""
        torch.manual_seed(0)
        peer = diffusers().WanTransformer3DModel(**self.scale.transformer, in_channels=16, out_channels=16)
        peer.save_pretrained(self.folder / "transformer")
        ours = load_transformer(self.folder / "transformer", dtype=self.dtype).to(self.device)
        peer = peer.eval().requires_grad_(False).to(self.device)
        if self.dtype != torch.float32:
            peer.to(self.dtype)
        if self.tuned:
            peer.compile()
        return ours.eval().requires_grad_(False), peer

    def bundled_peer(self) -> Any:
        """The bundled transformer in diffusers' class."""
        network = load_transformer(find_model("playground"))
        network.config = network.config.model_copy(update={"prediction": "velocity"})  # the only one diffusers writes
        save_wan_transformer(network, self.folder / "trained")
        theirs = diffusers().WanTransformer3DModel
        peer = theirs.from_config(theirs.load_config(self.folder / "trained"))
        peer.load_state_dict(load_file(self.folder / "trained" / WEIGHTS_FILE))
        return peer.eval().requires_grad_(False)

    def codecs(self, base: int) -> tuple[VideoCodec, Any]:
        """Codecs of a base width with random weights."""
        torch.manual_seed(0)
        plain = {"latents_mean": [0.0] * 16, "latents_std": [1.0] * 16}
        peer = diffusers().AutoencoderKLWan(base_dim=base, z_dim=16, **plain).eval().requires_grad_(False)
        peer.save_pretrained(self.folder / "vae")
        ours = load_codec(self.folder / "vae").requires_grad_(False).to(self.device)
        peer = peer.to(self.device)
        if self.tuned:
            peer.to(memory_format=torch.channels_last_3d)
            peer.encoder.compile()
            peer.decoder.compile()
        return ours, peer

    def pipelines(self, base: int) -> tuple[Pipeline, Callable[..., Tensor]]:
        """Our pipeline, and the peer's as a function of the output type: "latent" or "np"."""
        scale = self.scale
        transformer, their_transformer = self.transformers()
        codec, their_codec = self.codecs(base)
        size = {"height": scale.height, "width": scale.width, "num_frames": scale.num_frames}
        rates = {"fps": FPS, "reference_fps": FPS}
        config = PipelineConfig.model_validate(
            {"name": "benchmark", "solver": "euler", "shift": SHIFT, "reference_tokens": None, **rates, **size}
        )
        states = RandomStates(scale.text_width, torch.zeros(1, device=self.device, dtype=self.dtype))
        ours = Pipeline(codec, transformer, states, config)
        theirs = diffusers().WanPipeline(
            tokenizer=None,
            text_encoder=None,
            transformer=their_transformer,
            vae=their_codec,
            scheduler=diffusers().FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        )
        theirs.set_progress_bar_config(disable=True)
        levels = np.linspace(1, 0, scale.steps + 1)[:-1]
        theirs.scheduler.set_timesteps = partial(theirs.scheduler.set_timesteps, sigmas=levels)
        shape = 1 + (scale.num_frames - 1) // 4, scale.height // 16, scale.width // 16
        # the noise that our sampler draws
        noise = unpatchify(torch.randn(math.prod(shape), 64, generator=torch.Generator().manual_seed(0)), shape)

        def generate(output: str) -> Tensor:
            made = theirs(
                prompt_embeds=states.states[PROMPT][None],
                negative_prompt_embeds=states.states[NEGATIVE][None],
                latents=noise[None].to(self.device),
                num_inference_steps=scale.steps,
                guidance_scale=GUIDANCE,
                output_type=output,
                **size,
            ).frames[0]
            return torch.as_tensor(made).float()

        return ours, generate


def diffusers() -> Any:
    """The peer's package, whose types are looser than ours."""
    return importlib.import_module("diffusers")
