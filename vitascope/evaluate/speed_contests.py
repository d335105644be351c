"""What `evaluate speed` sets side by side: networks of Wan's form with random weights, as ours and as diffusers'.

The peers are made by diffusers, written as it writes them, and read by `vitascope.hub`: both sides have the same
weights. Prompts are random states, filled up to 512 with zeros, as Wan's are.
"""

from __future__ import annotations

import importlib
import math
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from vitascope.codec.network import Codec
from vitascope.codec.streaming import (
    chunk_spans,
    decode_frames,
    decode_stream,
    encode_stream,
    latent_spans,
)
from vitascope.evaluate.speed import (
    Contest,
    Side,
    Work,
    difference_beyond_rounding,
    relative_difference,
    root_mean_square,
)
from vitascope.evaluate.speed_processes import process_contests
from vitascope.generate.guidance import ConditionedDenoiser
from vitascope.generate.pipeline import Pipeline
from vitascope.hub.card import PipelineConfig
from vitascope.hub.diffusers_folder import WEIGHTS
from vitascope.hub.find import find_model, load
from vitascope.hub.registry import load_transformer
from vitascope.hub.wan.codec import load_wan_codec
from vitascope.hub.wan.transformer import load_wan_transformer, save_wan_transformer
from vitascope.kernels.int8 import quantize_
from vitascope.model.canvas import given_frames, make_canvas
from vitascope.model.diffusion import add_noise
from vitascope.model.patches import Sample, make_sample, pack, token_group, unpack, unpatchify
from vitascope.model.text import distinct_states
from vitascope.model.transformer import Transformer, num_flops

NUM_STATES = 512
SHIFT, GUIDANCE, FPS = 3.0, 5.0, 16
PROMPT, NEGATIVE = "prompt", "negative"
TRAINED_PROMPT = "a red robot walks over the beach, the camera pans left"
TRAINED_SIGMAS = (0.9, 0.6, 0.3)
SAID = {PROMPT: 24, NEGATIVE: 60}  # states that say something


@dataclass(frozen=True)
class Scale:
    """How large the transformer and its video are, and how small the rest."""

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
    lengths: tuple[int, int] = (49, 1441)  # frames of a short and of a long video, a minute at 24 a second
    long_edge: int = 64  # rows and columns of both

    @property
    def transformer(self) -> dict[str, Any]:
        """Keywords of diffusers' class."""
        shape = {"num_layers": self.layers, "num_attention_heads": self.heads, "attention_head_dim": self.head_dim}
        return {**shape, "ffn_dim": self.ffn_width, "text_dim": self.text_width}


SCALES = {
    # what a test can afford
    "tiny": Scale(2, 2, 16, 64, 32, 5, 32, 32, 32, 2, (4,), (9, 41), 16),
    # 30 million parameters; a video is 832 tokens
    "small": Scale(12, 6, 64, 1536, 4096, 49, 128, 128, 256, 8, (32, 96)),
    # Wan 2.1 T2V 1.3B at its usual size: for a GPU
    "1.3B": Scale(30, 12, 128, 8960, 4096, 81, 480, 832, 256, 8, (96,)),
}


class States:
    """A text encoder that gives random states: what they say doesn't change the work."""

    def __init__(self, width: int, like: Tensor):
        generator = torch.Generator().manual_seed(1)
        self.states = {}
        for prompt, said in SAID.items():
            states = torch.zeros(NUM_STATES, width)
            states[:said] = torch.randn(said, width, generator=generator)
            self.states[prompt] = states.to(like)
        self.width = width
        self.num_parameters = self.num_bytes = 0
        self.min_tokens = self.max_tokens = NUM_STATES

    def encode(self, prompts: Sequence[str]) -> list[Tensor]:
        """The states of each prompt."""
        return [self.states[prompt] for prompt in prompts]


class Contests:
    """The contests of one scale. Each is made by a method, so that its networks live no longer than it does.

    With `tuned` the peer's networks are compiled, and its codec's weights have channels last.
    """

    def __init__(
        self,
        scale: Scale,
        folder: Path,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        tuned: bool = False,
    ):
        self.scale, self._folder, self.device, self.dtype, self.tuned = scale, folder, device, dtype, tuned

    @property
    def folder(self) -> Path:
        """Where this process writes the peer's networks, that ours may read them."""
        folder = self._folder / str(os.getpid())
        folder.mkdir(exist_ok=True)
        return folder

    def all(self) -> dict[str, Callable[[], Contest]]:
        """Name and maker of each."""
        contests: dict[str, Callable[[], Contest]] = {"steps": self.steps, "images": self.images}
        for base in self.scale.codecs:
            contests[f"decode-{base}"] = partial(self.decode, base)
            contests[f"encode-{base}"] = partial(self.encode, base)
        contests |= {"pipeline": self.pipeline, "training": self.training}
        if self.device == "cpu" and self.dtype == torch.float32:
            contests |= {"length": self.length, "steps-int8": partial(self.steps, int8=True)}
            contests |= {f"decode-{base}-int8": partial(self.decode, base, int8=True) for base in self.scale.codecs}
            contests["trained-int8"] = self.trained
            contests |= process_contests(self.folder)
        return contests

    def steps(self, *, int8: bool = False) -> Contest:
        """A guided generation up to its latent; the prompts' states are given to both."""
        scale, steps = self.scale, self.scale.steps
        ours, theirs = self._pipelines(base=4)
        if int8:
            quantize_(ours.transformer, ours.transformer.int8_rules)
        stride = ours.codec.stride
        shape = 1 + (scale.num_frames - 1) // stride.time, scale.height // stride.rows, scale.width // stride.columns
        latent = torch.zeros(ours.codec.latent_channels, *shape, device=self.device)
        canvas = make_canvas(
            latent, given_frames(latent, []), fps=FPS, reference_fps=FPS, patch=(1, 2, 2), time_stride=stride.time
        )

        def make() -> Tensor:
            tokens = ours.sample(canvas, PROMPT, negative=NEGATIVE, num_steps=steps, guidance=GUIDANCE)
            return canvas.grid_latent(tokens, (1, 2, 2))

        tokens = canvas.num_grid_tokens
        flops = steps * sum(self._flops(ours.transformer, tokens, prompt) for prompt in (PROMPT, NEGATIVE))
        peer = partial(theirs, output="latent")
        name = f"{steps} guided steps, {canvas.num_grid_tokens} tokens"
        if int8:
            return Contest(f"{name}, int8", make, peer, 1e-2, 2.4, difference=relative_difference)
        return self._contest(name, make, peer, 1e-3, 1.5, flops)

    def pipeline(self) -> Contest:
        """The same to the finished frames."""
        scale, steps = self.scale, self.scale.steps
        ours, theirs = self._pipelines(base=scale.codecs[0])

        def make() -> Tensor:
            video = ours.generate(PROMPT, negative=NEGATIVE, num_steps=steps, guidance=GUIDANCE)
            return torch.from_numpy(video.frames).float() / 255

        contest = self._contest(f"pipeline, {steps} guided steps", make, partial(theirs, output="np"), 1e-3, 1.7)
        return replace(contest, difference=difference_beyond_rounding)

    def trained(self, *, int8: bool = True) -> Contest:
        """Predictions by the bundled model, of a video of its own with noise: what 8 bits cost depends on the weights.

        Those of the other contests are random.
        """
        ours, peer = load("playground", "int8" if int8 else "float32"), self._trained_peer()
        config, patch, fps = ours.config, ours.lattice.patch, ours.config.reference_fps
        latent = torch.zeros(
            ours.codec.latent_channels, *ours.lattice.shape(config.num_frames, config.height, config.width)
        )
        canvas = make_canvas(
            latent,
            given_frames(latent, []),
            fps=fps,
            reference_fps=fps,
            patch=patch,
            time_stride=ours.codec.stride.time,
        )
        prompt = ours.encode_prompt(TRAINED_PROMPT)
        clean = ours.sample(canvas, prompt, num_steps=config.num_steps, guidance=config.guidance)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(7))
        noised = [(add_noise(clean, noise, torch.full((len(clean),), sigma)), sigma) for sigma in TRAINED_SIGMAS]
        told = ConditionedDenoiser(ours.transformer, canvas, [prompt], history_noise=0)

        @torch.inference_mode()
        def make() -> Tensor:
            outputs = [ours.transformer(told.pack.at(x, sigma), told.cache) for x, sigma in noised]
            return torch.stack([canvas.grid_latent(tokens, patch) for tokens in outputs])

        @torch.inference_mode()
        def theirs() -> Tensor:
            inputs = [(canvas.grid_latent(x, patch)[None], torch.full((1,), 1000 * sigma)) for x, sigma in noised]
            return torch.cat([peer(x, time, prompt.context[None], return_dict=False)[0] for x, time in inputs])

        name = f"{len(noised)} predictions, trained, {len(clean)} tokens"
        if int8:
            return Contest(f"{name}, int8", make, theirs, 1e-2, 1.0, difference=relative_difference)
        return self._contest(name, make, theirs, 1e-4, 1.0)

    def images(self) -> Contest:
        """One pass over four images with a prompt each; ours has their keys and values from the step before."""
        ours, peer = self._transformers()
        side = self.scale.image // 8
        latents = torch.randn(4, 16, 1, side, side, generator=torch.Generator().manual_seed(2)).to(
            self.device, self.dtype
        )
        states = States(self.scale.text_width, latents).states[PROMPT]
        texts = torch.stack([states.roll(shift, dims=1) for shift in range(4)])
        packed = pack([_sample(latent, text) for latent, text in zip(latents, texts, strict=True)])
        with torch.inference_mode():
            cache = ours.encode_text(packed.context)

        @torch.inference_mode()
        def make() -> Tensor:
            tokens = unpack(ours(packed, cache), packed.lengths)
            return torch.stack([unpatchify(one, (1, side // 2, side // 2)) for one in tokens]).float()

        @torch.inference_mode()
        def theirs() -> Tensor:
            return peer(latents, torch.full((4,), 700.0, device=self.device), texts, return_dict=False)[0].float()

        flops = 4 * self._flops(ours, side * side // 4, PROMPT)
        return self._contest(f"4 images of {side * side // 4} tokens", make, theirs, 1e-4, 1.5, flops)

    def decode(self, base: int, *, int8: bool = False) -> Contest:
        """17 frames of 128 x 128 (5 of 32 x 32 at the tiny scale) from their latent."""
        ours, peer, frames, edge = self._codecs(base)
        latent = torch.randn(
            1, 16, 1 + (frames - 1) // 4, edge // 8, edge // 8, generator=torch.Generator().manual_seed(3)
        )
        latent = latent.to(self.device)

        @torch.inference_mode()
        def make() -> Tensor:
            return _decoded(ours, latent)

        @torch.inference_mode()
        def theirs() -> Tensor:
            return peer.decode(latent, return_dict=False)[0]

        name = f"decode {frames}x{edge}x{edge}, base {base}"
        if int8:
            quantize_(ours, ours.int8_rules)
            return Contest(f"{name}, int8", make, theirs, 2e-2, 4.0, difference=root_mean_square)
        return self._contest(name, make, theirs, 1e-4, 2.6 if base < 96 else 2.0)

    def length(self) -> Contest:
        """A minute of small frames, from its latent."""
        ours, peer, *_ = self._codecs(base=8)
        num_frames, edge = self.scale.lengths[1], self.scale.long_edge
        shape = 1, 16, 1 + (num_frames - 1) // 4, edge // 8, edge // 8
        latent = torch.randn(shape, generator=torch.Generator().manual_seed(6))

        @torch.inference_mode()
        def make() -> Tensor:
            return _decoded(ours, latent)

        @torch.inference_mode()
        def theirs() -> Tensor:
            return peer.decode(latent, return_dict=False)[0]

        return self._contest(f"decode {num_frames}x{edge}x{edge}, base 8", make, theirs, 1e-4, 5.0)

    def decoding(self, side: Side, num_frames: int) -> Callable[[], object]:
        """Decodes so many frames once: ours by `decode_frames`, piece by piece; the peer at once."""
        ours, peer, *_ = self._codecs(base=8)
        edge = self.scale.long_edge
        latent = torch.randn(
            16, 1 + (num_frames - 1) // 4, edge // 8, edge // 8, generator=torch.Generator().manual_seed(6)
        )
        if side == "ours":
            return lambda: sum(len(frames) for frames in decode_frames(ours, latent, edge, edge, num_frames))
        return torch.inference_mode()(lambda: peer.decode(latent[None], return_dict=False)[0])

    def encode(self, base: int) -> Contest:
        """The way back."""
        ours, peer, frames, edge = self._codecs(base)
        pixels = (
            torch.rand(1, 3, frames, edge, edge, generator=torch.Generator().manual_seed(4)).to(self.device) * 2 - 1
        )

        @torch.inference_mode()
        def make() -> Tensor:
            chunks = (pixels[:, :, start:stop] for start, stop in chunk_spans(frames, 4))
            return torch.cat(list(encode_stream(ours, chunks)), dim=2)

        @torch.inference_mode()
        def theirs() -> Tensor:
            return peer.encode(pixels, return_dict=False)[0].mean

        goal = 2.2 if base < 96 else 1.5
        return self._contest(f"encode {frames}x{edge}x{edge}, base {base}", make, theirs, 1e-4, goal)

    def training(self) -> Contest:
        """Forward and backward of a mix of images and clips: one pack, against batches of equal shape."""
        ours, peer = self._transformers()
        ours.requires_grad_(True)
        peer.requires_grad_(True)
        unit = max(2, self.scale.image // 32)  # patches along the edge of the smallest image
        grids = [(1, 2 * unit, 2 * unit)] * 4 + [(1, 2 * unit, 4 * unit)] * 4 + [(1, 4 * unit, 4 * unit)] * 4
        grids += [(5, 2 * unit, 2 * unit)] * 2 + [(13, 2 * unit, 2 * unit)] * 2
        generator = torch.Generator().manual_seed(5)
        latents = [torch.randn(16, *grid, generator=generator).to(self.device, self.dtype) for grid in grids]
        states = States(self.scale.text_width, latents[0]).states[PROMPT]
        texts = [states.roll(number, dims=1) for number in range(len(grids))]

        def make() -> Tensor:
            packed = pack([_sample(latent, text) for latent, text in zip(latents, texts, strict=True)])
            loss = (ours(packed).float() - packed.tokens.float()).square().sum()
            return _gradient(loss, ours.patch_in.weight)

        def theirs() -> Tensor:
            buckets = defaultdict(list)
            for latent, text in zip(latents, texts, strict=True):
                buckets[latent.shape].append((latent, text))
            loss = torch.zeros((), device=self.device)
            for bucket in buckets.values():
                noisy, text = (torch.stack(column) for column in zip(*bucket, strict=True))
                time = torch.full((len(noisy),), 700.0, device=self.device)
                output = peer(noisy, time, text, return_dict=False)[0]
                loss = loss + (output.float() - noisy.float()).square().sum()
            return _gradient(loss, peer.patch_embedding.weight).flatten(1)

        tokens = sum(math.prod(grid) // 4 for grid in grids)
        flops = sum(3 * self._flops(ours, math.prod(grid) // 4, PROMPT, cached=False) for grid in grids)
        return self._contest(f"training on 12 images, 4 clips: {tokens} tokens", make, theirs, 1e-3, 1.6, flops)

    def _contest(self, name: str, ours: Work, peer: Work, tolerance: float, goal: float, flops: int = 0) -> Contest:
        half = self.dtype != torch.float32
        return Contest(name, ours, peer, 0.1 if half else tolerance, goal, flops)

    def _flops(self, network: Transformer, tokens: int, prompt: str, *, cached: bool = True) -> int:
        """Of a forward pass by ours, where the equal states behind a prompt are one."""
        return num_flops(network.config, [tokens], [tokens], [SAID[prompt] + 1], 1, text_cached=cached)

    def _transformers(self) -> tuple[Transformer, Any]:
        diffusers = _diffusers()
        torch.manual_seed(0)
        peer = diffusers.WanTransformer3DModel(**self.scale.transformer, in_channels=16, out_channels=16)
        peer.save_pretrained(self.folder / "transformer")
        ours = load_wan_transformer(self.folder / "transformer", self.dtype).to(self.device)
        peer = peer.eval().requires_grad_(False).to(self.device, self.dtype)
        if self.tuned:
            peer.compile()
        return ours.eval().requires_grad_(False), peer

    def _trained_peer(self) -> Any:
        """The bundled transformer in diffusers' class."""
        network = load_transformer(find_model("playground") / "transformer", torch.float32)
        network.config = network.config.model_copy(update={"prediction": "velocity"})  # so that it may be written
        save_wan_transformer(network, self.folder / "trained")
        theirs = _diffusers().WanTransformer3DModel
        peer = theirs.from_config(theirs.load_config(self.folder / "trained"))
        peer.load_state_dict(load_file(self.folder / "trained" / WEIGHTS))
        return peer.eval().requires_grad_(False)

    def _codecs(self, base: int) -> tuple[Codec, Any, int, int]:
        diffusers = _diffusers()
        torch.manual_seed(0)
        plain = {"latents_mean": [0.0] * 16, "latents_std": [1.0] * 16}
        peer = diffusers.AutoencoderKLWan(base_dim=base, z_dim=16, **plain).eval().requires_grad_(False)
        peer.save_pretrained(self.folder / "vae")
        ours, peer = (
            load_wan_codec(self.folder / "vae").eval().requires_grad_(False).to(self.device),
            peer.to(self.device),
        )
        if self.tuned:
            peer.to(memory_format=torch.channels_last_3d)
            peer.encoder.compile()
            peer.decoder.compile()
        frames, edge = (17, 128) if self.scale.height >= 128 else (5, 32)
        return ours, peer, frames, edge

    def _pipelines(self, base: int) -> tuple[Pipeline, Callable[..., Tensor]]:
        """Ours, and the peer's as a function of the kind of output: "latent" or "np"."""
        diffusers, scale = _diffusers(), self.scale
        transformer, their_transformer = self._transformers()
        codec, their_codec, *_ = self._codecs(base)
        size = {"height": scale.height, "width": scale.width, "num_frames": scale.num_frames}
        rates = {"fps": FPS, "reference_fps": FPS}
        config = PipelineConfig.model_validate(
            {"name": "speed", "solver": "euler", "shift": SHIFT, "reference_tokens": None, **rates, **size}
        )
        states = States(scale.text_width, torch.zeros(1, device=self.device, dtype=self.dtype))
        ours = Pipeline(codec, transformer, states, config)
        theirs = diffusers.WanPipeline(
            tokenizer=None,
            text_encoder=None,
            transformer=their_transformer,
            vae=their_codec,
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        )
        theirs.set_progress_bar_config(disable=True)
        levels = np.linspace(1, 0, scale.steps + 1)[:-1]
        theirs.scheduler.set_timesteps = partial(theirs.scheduler.set_timesteps, sigmas=levels)
        shape = 1 + (scale.num_frames - 1) // 4, scale.height // 16, scale.width // 16
        # the noise that our sampler draws
        noise = unpatchify(torch.randn(math.prod(shape), 64, generator=torch.Generator().manual_seed(0)), shape)

        def make(output: str) -> Tensor:
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

        return ours, make


def _diffusers() -> Any:
    """The peer, whose own types are looser than ours."""
    return importlib.import_module("diffusers")


def _decoded(codec: Codec, latent: Float[Tensor, "1 c t h w"]) -> Float[Tensor, "1 3 t2 h2 w2"]:
    """The pixels of a latent, decoded in the pipeline's chunks."""
    chunks = (latent[:, :, start:stop] for start, stop in latent_spans(0, *latent.shape[2:]))
    return torch.cat(list(decode_stream(codec, chunks)), dim=2).clamp_(-1, 1)


def _sample(latent: Float[Tensor, "c t h w"], text: Float[Tensor, "l e"]) -> Sample:
    context, counts = distinct_states(text)
    group = token_group(latent, fps=FPS, reference_fps=FPS)
    return make_sample([group], torch.full((latent.shape[1],), 0.7), context, context_counts=counts)


def _gradient(loss: Tensor, weight: Tensor) -> Tensor:
    """The gradient of a weight after a backward pass through everything, relative to its own size."""
    weight.grad = None
    loss.backward()
    assert weight.grad is not None
    return weight.grad / weight.grad.abs().max()
