"""The only place where the three networks meet: a prompt and a canvas in, a video out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vitascope.codec.network import Codec
from vitascope.codec.streaming import latent_shape
from vitascope.config import parse_config
from vitascope.errors import SizeError
from vitascope.generate import planning as abilities
from vitascope.generate.cost import Cost, cost_of, matmul_rate
from vitascope.generate.footage import Media
from vitascope.generate.guidance import ConditionedDenoiser, EncodedPrompt, Guidance, guided_velocity
from vitascope.generate.rollout import Rollout
from vitascope.generate.sampler import SOLVERS, OnStep, Velocity
from vitascope.generate.storyboard import Storyboard, lay_out, load_storyboard
from vitascope.generate.timeline import Lattice, Timeline
from vitascope.hub.card import PipelineConfig, read_model_index
from vitascope.hub.registry import load_codec, load_transformer
from vitascope.hub.wan.folder import is_wan, load_wan
from vitascope.hub.weights import torch_dtype
from vitascope.kernels.device import CPU
from vitascope.kernels.int8 import check_eight_bit, is_eight_bit, num_weights, quantize_
from vitascope.kernels.threads import can_run_pairs
from vitascope.model.canvas import Canvas
from vitascope.model.diffusion import MAX_STEPS, add_noise, sigma_schedule
from vitascope.model.text import PromptEncoder, TextEncoder, distinct_states
from vitascope.model.transformer import Transformer
from vitascope.types import Number, Precision
from vitascope.video import Video


@dataclass(frozen=True)
class Sampling:
    """How a video is drawn; None is as the model was trained. The same seed gives the same frames."""

    seed: int = 0
    num_steps: int | None = None
    guidance: Number | None = None
    negative: str = ""

    def of_window(self, number: int) -> int:
        """The seed of a window: the first one's is the seed itself."""
        if number == 0:
            return self.seed
        return int(np.random.SeedSequence([self.seed, number]).generate_state(1, np.uint64)[0] >> 1)


Prompt = str | EncodedPrompt


class Pipeline:
    """A model folder, loaded: codec, transformer, text encoder and how to use them.

    All abilities take the same options. `height`, `width` and `fps` are the result's, by default those of the footage
    as nearly as the model knows them. `num_steps`, `guidance` and `negative` say how it is drawn, by default as the
    model was trained; the same `seed` gives the same frames.
    """

    def __init__(self, codec: Codec, transformer: Transformer, text_encoder: PromptEncoder, config: PipelineConfig):
        self.codec = codec.eval().requires_grad_(False)
        self.transformer = transformer.eval().requires_grad_(False)
        self.text_encoder = text_encoder
        self.config = config
        self.lattice = Lattice(self.codec, transformer.config.patch)

    @classmethod
    def load(cls, folder: str | Path, dtype: Precision = "float32", *, weights: bool = True) -> Pipeline:
        """A model from a folder in diffusers' layout: one of ours, or Wan's. `dtype` is the transformer's.

        With int8 the transformer and the codec's decoder compute in 8 bits, on a CPU: faster and rougher
        (docs/performance.md). It loads all in float32 first.

        With weights=False the networks have shapes only, which is enough for a card.

        Raises:
            ModelError: a part is missing or damaged, or int8 where PyTorch has no kernels for it.
        """
        folder = Path(folder)
        if dtype == "int8":
            check_eight_bit()
            pipeline = cls.load(folder, weights=weights)
            if weights:
                quantize_(pipeline.transformer, pipeline.transformer.int8_rules)
                quantize_(pipeline.codec, pipeline.codec.int8_rules)
            return pipeline
        if is_wan(folder):
            wan = load_wan(folder, torch_dtype(dtype), weights=weights)
            config = parse_config(wan.settings, PipelineConfig, source=str(folder))
            return cls(wan.codec, wan.transformer, wan.text_encoder, config)
        config = read_model_index(folder)
        codec = load_codec(folder / "vae", weights=weights)
        transformer = load_transformer(folder / "transformer", torch_dtype(dtype), weights=weights)
        text_encoder = TextEncoder.load(folder / "text_encoder", folder / "tokenizer", weights=weights)
        return cls(codec, transformer, text_encoder, config)

    def generate(
        self,
        prompt: str,
        *,
        image: Media | None = None,
        last_image: Media | None = None,
        references: Sequence[Media] = (),
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        seconds: Number | None = None,
        fps: Number | None = None,
        seed: int = 0,
        num_steps: int | None = None,
        guidance: Number | None = None,
        negative: str = "",
        on_progress: OnStep | None = None,
    ) -> Video:
        """A video of the prompt; one frame makes an image. What isn't given is as the model was trained.

        `image` becomes the first frame and `last_image` the last ones, resized to the video's size; `references` are
        seen but not shown. `seconds` and `num_frames` are two ways to say the same: give one. The same seed gives the
        same frames.

        Raises:
            PromptError: an empty or overlong prompt.
            SizeError: a size, frame count, rate or number of steps that can't be made.
            MediaError: an image that can't be read.
        """
        timeline = abilities.generate(
            self.lattice,
            self.config,
            prompt,
            image=image,
            last_image=last_image,
            references=references,
            height=height,
            width=width,
            num_frames=num_frames,
            seconds=seconds,
            fps=fps,
        )
        return self.make(timeline, Sampling(seed, num_steps, guidance, negative), on_progress)

    def extend(
        self,
        video: Media,
        prompt: str = "",
        *,
        seconds: Number,
        backward: bool = False,
        height: int | None = None,
        width: int | None = None,
        fps: Number | None = None,
        seed: int = 0,
        num_steps: int | None = None,
        guidance: Number | None = None,
        negative: str = "",
        on_progress: OnStep | None = None,
    ) -> Video:
        """The video and `seconds` of what follows it, or with `backward` of what precedes it.

        Its own frames come back as the codec keeps them.

        Raises:
            PromptError, SizeError, MediaError: as `generate`; also no seconds to make.
        """
        size = {"height": height, "width": width, "fps": fps}
        timeline = abilities.extend(
            self.lattice, self.config, video, prompt, seconds=seconds, backward=backward, **size
        )
        return self.make(timeline, Sampling(seed, num_steps, guidance, negative), on_progress)

    def fill(
        self,
        video: Media,
        missing: Sequence[tuple[Number, Number]],
        prompt: str = "",
        *,
        height: int | None = None,
        width: int | None = None,
        fps: Number | None = None,
        seed: int = 0,
        num_steps: int | None = None,
        guidance: Number | None = None,
        negative: str = "",
        on_progress: OnStep | None = None,
    ) -> Video:
        """The video with what lies between pairs of seconds made anew.

        Raises:
            PromptError, SizeError, MediaError: as `generate`; also nothing missing, or everything.
        """
        size = {"height": height, "width": width, "fps": fps}
        timeline = abilities.fill(self.lattice, self.config, video, missing, prompt, **size)
        return self.make(timeline, Sampling(seed, num_steps, guidance, negative), on_progress)

    def connect(
        self,
        before: Media,
        after: Media,
        prompt: str = "",
        *,
        seconds: Number,
        height: int | None = None,
        width: int | None = None,
        fps: Number | None = None,
        seed: int = 0,
        num_steps: int | None = None,
        guidance: Number | None = None,
        negative: str = "",
        on_progress: OnStep | None = None,
    ) -> Video:
        """One video, `seconds` of what leads from it to the other, and the other.

        Raises:
            PromptError, SizeError, MediaError: as `generate`; also no seconds to make.
        """
        size = {"height": height, "width": width, "fps": fps}
        timeline = abilities.connect(self.lattice, self.config, before, after, prompt, seconds=seconds, **size)
        return self.make(timeline, Sampling(seed, num_steps, guidance, negative), on_progress)

    def loop(
        self,
        video: Media,
        prompt: str = "",
        *,
        seconds: Number = 1.0,
        height: int | None = None,
        width: int | None = None,
        fps: Number | None = None,
        seed: int = 0,
        num_steps: int | None = None,
        guidance: Number | None = None,
        negative: str = "",
        on_progress: OnStep | None = None,
    ) -> Video:
        """The video and `seconds` of what leads from its end back to its beginning.

        Raises:
            PromptError, SizeError, MediaError: as `generate`; also no seconds to make.
        """
        size = {"height": height, "width": width, "fps": fps}
        timeline = abilities.loop(self.lattice, self.config, video, prompt, seconds=seconds, **size)
        return self.make(timeline, Sampling(seed, num_steps, guidance, negative), on_progress)

    def edit(
        self,
        video: Media,
        prompt: str,
        *,
        strength: Number,
        mask: Media | None = None,
        height: int | None = None,
        width: int | None = None,
        fps: Number | None = None,
        seed: int = 0,
        num_steps: int | None = None,
        guidance: Number | None = None,
        negative: str = "",
        on_progress: OnStep | None = None,
    ) -> Video:
        """The video made anew after another prompt, from as much noise as `strength` in (0, 1] says.

        With a mask, an image, only where that is white.

        Raises:
            PromptError, SizeError, MediaError: as `generate`; also a strength or mask that changes nothing.
        Source: Meng et al. 2022 (arXiv:2108.01073), SDEdit.
        """
        size = {"height": height, "width": width, "fps": fps}
        timeline = abilities.edit(self.lattice, self.config, video, prompt, strength=strength, mask=mask, **size)
        return self.make(timeline, Sampling(seed, num_steps, guidance, negative), on_progress)

    def storyboard(
        self,
        storyboard: Storyboard | str | Path,
        *,
        height: int | None = None,
        width: int | None = None,
        fps: Number | None = None,
        seed: int = 0,
        num_steps: int | None = None,
        guidance: Number | None = None,
        negative: str = "",
        on_progress: OnStep | None = None,
    ) -> Video:
        """A video of several shots, each with its text; a path is that of a TOML file.

        Raises:
            ConfigError: a file that can't be read, an unknown key, or a value that can't be.
            PromptError, SizeError, MediaError: as `generate`; also a shot that is shorter than a latent frame.
        """
        if not isinstance(storyboard, Storyboard):
            storyboard = load_storyboard(storyboard)
        timeline = lay_out(self.lattice, self.config, storyboard, height=height, width=width, fps=fps)
        return self.make(timeline, Sampling(seed, num_steps, guidance, negative), on_progress)

    def make(self, timeline: Timeline, sampling: Sampling = Sampling(), on_progress: OnStep | None = None) -> Video:
        """The video of a timeline, whole in memory."""
        frames = np.empty((timeline.num_frames, timeline.height, timeline.width, 3), np.uint8)
        written = 0
        for chunk in self.stream(timeline, sampling, on_progress):
            frames[written : written + len(chunk)] = chunk
            written += len(chunk)
        return Video(frames, timeline.fps)

    @torch.inference_mode()
    def stream(
        self, timeline: Timeline, sampling: Sampling = Sampling(), on_progress: OnStep | None = None
    ) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
        """The frames of a timeline as they are made, in flat memory. Progress counts the steps of all windows.

        Raises:
            PromptError: an overlong negative prompt.
            SizeError: a number of steps that can't be.
        """
        config, patch = self.config, self.transformer.config.patch
        rollout = self.rollout(timeline)
        windows = rollout.windows()
        num_steps = config.num_steps if sampling.num_steps is None else sampling.num_steps
        guidance = config.guidance if sampling.guidance is None else sampling.guidance
        # all of them now: one that is too long is told at once, not after the shots before it
        encoded = {text: self.encode_prompt(text) for text in timeline.prompts}
        negative = self.encode_prompt(sampling.negative) if guidance != 1 else sampling.negative
        for number, window in enumerate(windows):
            yield from rollout.decoded()

            def show(step: int, total: int, before: int = number) -> None:
                if on_progress is not None:
                    on_progress(before * total + step, len(windows) * total)

            canvas = rollout.canvas(window)
            tokens = self.sample(
                canvas,
                [encoded[text] for text in rollout.prompts(window)],
                negative=negative,
                seed=sampling.of_window(number),
                num_steps=num_steps,
                guidance=guidance,
                strength=timeline.strength,
                history_noise=config.history_noise,
                on_progress=show,
            )
            rollout.put(window, canvas.grid_latent(tokens, patch))
        yield from rollout.decoded()

    def rollout(self, timeline: Timeline) -> Rollout:
        """A timeline before anything of it is made, and the windows in which it will be."""
        window_length, _, _ = latent_shape(self.codec, self.config.num_frames, 1, 1)
        return Rollout(timeline, self.lattice, window_length, self.config.reference_fps)

    @torch.inference_mode()
    def sample(
        self,
        canvas: Canvas,
        prompt: Prompt | Sequence[Prompt],
        *,
        negative: Prompt = "",
        seed: int = 0,
        num_steps: int = 40,
        guidance: Number = 1.0,
        strength: Number = 1.0,
        history_noise: Number = 0.0,
        on_progress: OnStep | None = None,
    ) -> Float[Tensor, "n p"]:
        """The canvas's tokens with everything made that wasn't given; given tokens come back unchanged.

        A canvas of several shots takes a prompt for each.
        With a `strength` below 1, in that share of the steps and from the canvas's own tokens, noised so far.
        The transformer sees what a model has made before at the noise level `history_noise`.

        Raises:
            PromptError: an overlong prompt.
            SizeError: fewer than one step, or more than a thousand.
        """
        if not 1 <= num_steps <= MAX_STEPS:
            raise SizeError(f"{num_steps} sampling steps: must be 1 to {MAX_STEPS}")
        prompts = [prompt] if isinstance(prompt, str | EncodedPrompt) else list(prompt)
        shift = self.config.shift_of(canvas.num_grid_tokens)
        sigmas = sigma_schedule(math.ceil(strength * num_steps), shift, start=strength)
        noise = torch.randn(canvas.clean.shape, generator=torch.Generator().manual_seed(seed))
        # at full strength nothing shines through, not even what rounding leaves of it
        noised = noise if strength == 1 else add_noise(canvas.clean, noise, sigmas[:1].expand(len(noise)))
        given = canvas.given[:, None]
        level = float(history_noise) * canvas.history.float()
        start = torch.where(given, add_noise(canvas.clean, noise, level), noised)
        with self._velocity(canvas, prompts, negative, self._guidance(guidance), history_noise) as velocity:
            made = SOLVERS[self.config.solver].integrate(velocity, start, sigmas, on_progress)
        return torch.where(given, canvas.clean, made)

    @torch.inference_mode()
    def encode_prompt(self, prompt: str) -> EncodedPrompt:
        """A prompt for `sample`, so that many canvases need it encoded once only.

        Raises:
            PromptError: an overlong prompt.
        """
        (states,) = self.text_encoder.encode([prompt])
        return EncodedPrompt(*distinct_states(states))

    def _guidance(self, scale: Number) -> Guidance:
        config = self.config
        return Guidance(scale, config.guidance_interval, config.guidance_rescale, config.guidance_ramp)

    def _velocity(
        self,
        canvas: Canvas,
        prompts: Sequence[Prompt],
        negative: Prompt,
        guidance: Guidance,
        history_noise: Number,
    ) -> AbstractContextManager[Velocity]:
        """The guided velocity of the canvas's tokens."""

        def prompted(prompts: Sequence[Prompt]) -> ConditionedDenoiser:
            texts = [prompt if isinstance(prompt, EncodedPrompt) else self.encode_prompt(prompt) for prompt in prompts]
            return ConditionedDenoiser(self.transformer, canvas, texts, history_noise)

        conditional = prompted(prompts)

        all_is_near = bool((canvas.nearness(guidance.ramp)[~canvas.given] == 1).all())
        if guidance.scale == 1 or all_is_near:  # nothing is led anywhere, so one pass is enough
            return guided_velocity(conditional, None, guidance)
        negative = self.encode_prompt(negative) if isinstance(negative, str) else negative
        return guided_velocity(conditional, prompted([negative] * len(prompts)), guidance)

    def card(self, *, measure: bool = False) -> dict[str, object]:
        """What a model card says: sizes, parameters, training, scores, and what a video of the usual size takes.

        With `measure` also how long at least, by this machine's rate of arithmetic, but not in 8 bits.
        """
        count = {
            "transformer": num_weights(self.transformer),
            "codec": num_weights(self.codec),
            "text encoder": self.text_encoder.num_parameters,
        }
        known = measure and not is_eight_bit(self.transformer)
        rate = matmul_rate(next(self.transformer.parameters()).dtype) if known else None
        return {
            **self.config.model_dump(),
            "parameters": count,
            "stride": tuple(self.codec.stride),
            "a video takes": self.cost().card(rate),
        }

    def cost(self) -> Cost:
        """The memory and the arithmetic of a video as the model was trained, on a CPU of as many threads as here."""
        config = self.config
        size = {"height": config.height, "width": config.width, "num_frames": config.num_frames}
        at_once = 2 if config.guidance != 1 and can_run_pairs(CPU) else 1
        networks = (self.codec, self.transformer, self.text_encoder)
        return cost_of(*networks, self._num_passes(), passes_at_once=at_once, **size)

    def _num_passes(self) -> int:
        """Forward passes of the transformer for a video of the default size: two where guidance applies."""
        config, guidance = self.config, self._guidance(self.config.guidance)
        grid = self.lattice.shape(config.num_frames, config.height, config.width)
        tokens = math.prod(side // step for side, step in zip(grid, self.lattice.patch, strict=True))
        sigmas = sigma_schedule(config.num_steps, config.shift_of(tokens))
        levels = SOLVERS[config.solver].evaluated(sigmas.tolist())
        return sum(2 if guidance.applies(sigma) else 1 for sigma in levels)
