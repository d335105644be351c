"""Pipeline: codec, transformer and text encoder of one model, which turn a request into a video."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vitascope.codec.streaming import latent_shape
from vitascope.codec.video_codec import VideoCodec
from vitascope.errors import ConfigError, DeviceError, ModelError, SizeError
from vitascope.generate.cost import Cost, card_of, cost_of_pipeline
from vitascope.generate.guidance import ConditionedDenoiser, EncodedPrompt, Guidance, guided_velocity
from vitascope.generate.planning import plan
from vitascope.generate.requests import (
    Connect,
    Edit,
    Extend,
    Fill,
    Generate,
    Loop,
    Media,
    Request,
    Sampling,
    Storyboard,
    load_storyboard,
)
from vitascope.generate.rollout import Rollout
from vitascope.generate.sampler import SOLVERS, OnStep, Velocity
from vitascope.generate.timeline import LatentGrid, Timeline
from vitascope.hub.card import PipelineConfig
from vitascope.hub.find import find_model
from vitascope.hub.registry import load_model
from vitascope.hub.weights import torch_dtype
from vitascope.kernels.device import CPU, device_of, resolve_device, resolve_precision
from vitascope.kernels.int8 import check_eight_bit, is_eight_bit, quantize_
from vitascope.model.canvas import Canvas
from vitascope.model.diffusion import add_noise, shift_factor, sigma_schedule
from vitascope.model.text import PromptEncoder, distinct_states
from vitascope.model.transformer import Transformer
from vitascope.types import MAX_SHIFT, MAX_STEPS, DtypeChoice, Number
from vitascope.video import Video

_log = logging.getLogger(__name__)

DEFAULT_SAMPLING = Sampling()
Prompt = str | EncodedPrompt
Part = Literal["text_encoder", "transformer", "codec"]


class Pipeline:
    """A loaded model: codec, transformer, text encoder, and the settings it was trained for.

    `run` generates the video of any request. `generate`, `extend`, ... build the request from their arguments, the
    fields of the class of that name in `vitascope.generate.requests`. Plans, masks and noise are computed on the CPU,
    so a seed gives the same video on every device, up to rounding.
    """

    def __init__(
        self, codec: VideoCodec, transformer: Transformer, text_encoder: PromptEncoder, config: PipelineConfig
    ):
        if config.solver not in SOLVERS:
            raise ModelError(f"the model's solver is {config.solver!r}; known are {', '.join(SOLVERS)}")
        self.codec = codec.eval().requires_grad_(False)
        self.transformer = transformer.eval().requires_grad_(False)
        self.text_encoder = text_encoder
        self.config = config
        self.grid = LatentGrid(self.codec, transformer.config.patch)
        self.device = device_of(transformer)
        self.offload = False
        self.has_weights = True

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        device: str | torch.device = "auto",
        dtype: DtypeChoice = "auto",
        weights: bool = True,
        offload: bool = False,
    ) -> Pipeline:
        """The model of a bundled name, a folder, a training run's folder or a Hugging Face id, see `vitascope.load`.

        `dtype` applies to the transformer and to large text encoders. With int8 the transformer and the codec's decoder
        compute in 8 bits: faster and less exact, on CPUs only (docs/performance.md). With weights=False the networks
        stay on the meta device, which is enough for a card.

        Raises:
            ModelError: no such model, or a part of it is missing or damaged.
            DeviceError: a device that this machine lacks, or a dtype that the device doesn't support.
        """
        where = resolve_device(device)
        precision = resolve_precision(dtype, where)
        if precision == "int8":
            check_eight_bit()  # before anything is downloaded
        stored = torch_dtype("float32" if precision == "int8" else precision)
        folder = find_model(model, weights=weights)
        parts = load_model(folder, device=CPU if offload else where, dtype=stored, weights=weights)
        pipeline = cls(parts.codec, parts.transformer, parts.text_encoder, parts.config)
        if precision == "int8" and weights:
            quantize_(pipeline.transformer, pipeline.transformer.int8_rules)
            quantize_(pipeline.codec, pipeline.codec.int8_rules)
        pipeline.device, pipeline.offload, pipeline.has_weights = where, offload, weights
        return pipeline

    def to(self, device: str | torch.device, *, offload: bool = False) -> Pipeline:
        """This pipeline, computing on a device. With `offload`, only the network in use is there; the others wait on
        the CPU, which saves memory and costs a transfer for each change.

        Raises:
            DeviceError: a device that this machine lacks, or networks in 8 bits, which stay on the CPU.
        """
        self._check_weights()
        where = resolve_device(device)
        if is_eight_bit(self.transformer) and where != self.device:
            raise DeviceError(f"networks in 8 bits can't move to {where}; load them with dtype='bfloat16'")
        self.device, self.offload = where, offload
        place = CPU if offload else where
        self.text_encoder = self.text_encoder.to(place)
        self.transformer.to(place)
        self.codec.to(place)
        return self

    def compile(self) -> Pipeline:
        """This pipeline, with the transformer's blocks compiled: the first steps take longer, later ones less."""
        self.transformer.compile_blocks()
        return self

    def generate(self, prompt: str, *, on_progress: OnStep | None = None, **fields: Any) -> Video:
        """A video of the prompt, or an image if `num_frames=1`; fields as in `requests.Generate`.

        Raises:
            ConfigError: an unknown field or a wrong type.
            PromptError: an empty or overlong prompt.
            SizeError: a size, frame count, rate or number of steps out of range.
            MediaError: an image that can't be read.
        """
        return self.run(Generate(prompt=prompt, **fields), on_progress)

    def extend(self, video: Media, prompt: str = "", *, on_progress: OnStep | None = None, **fields: Any) -> Video:
        """The video and what follows or precedes it; fields as in `requests.Extend`. Raises as `generate`."""
        return self.run(Extend(video=video, prompt=prompt, **fields), on_progress)

    def fill(
        self,
        video: Media,
        missing: Sequence[tuple[Number, Number]],
        prompt: str = "",
        *,
        on_progress: OnStep | None = None,
        **fields: Any,
    ) -> Video:
        """The video with the frames between pairs of seconds regenerated; fields as in `requests.Fill`."""
        return self.run(
            Fill(video=video, missing=tuple((float(a), float(b)) for a, b in missing), prompt=prompt, **fields),
            on_progress,
        )

    def connect(
        self, before: Media, after: Media, prompt: str = "", *, on_progress: OnStep | None = None, **fields: Any
    ) -> Video:
        """The first video, a generated transition, and the second video; fields as in `requests.Connect`."""
        return self.run(Connect(before=before, after=after, prompt=prompt, **fields), on_progress)

    def loop(self, video: Media, prompt: str = "", *, on_progress: OnStep | None = None, **fields: Any) -> Video:
        """The video and a transition from its end to its beginning; fields as in `requests.Loop`."""
        return self.run(Loop(video=video, prompt=prompt, **fields), on_progress)

    def edit(self, video: Media, prompt: str, *, on_progress: OnStep | None = None, **fields: Any) -> Video:
        """The video regenerated from another prompt; fields as in `requests.Edit`."""
        return self.run(Edit(video=video, prompt=prompt, **fields), on_progress)

    def storyboard(
        self, storyboard: Storyboard | str | Path, *, on_progress: OnStep | None = None, **fields: Any
    ) -> Video:
        """A video of several shots, from a `Storyboard` or a TOML file; fields given here replace the storyboard's."""
        board = storyboard if isinstance(storyboard, Storyboard) else load_storyboard(storyboard)
        return self.run(Storyboard(**{**dict(board), **fields}), on_progress)

    def run(self, request: Request, on_progress: OnStep | None = None) -> Video:
        """The video of a request, whole in memory.

        Raises:
            PromptError, SizeError, MediaError: as `planning.plan` and `stream`.
        """
        timeline = self.plan(request)
        for part in timeline.sound:
            _log.warning("the sound of %s is left out of the video in memory; `recording.record` keeps it", part.path)
        return self.make(timeline, request.sampling, on_progress)

    def plan(self, request: Request) -> Timeline:
        """The timeline of a request, see `planning.plan`."""
        self._use("codec")
        return plan(self, request)

    def make(
        self, timeline: Timeline, sampling: Sampling = DEFAULT_SAMPLING, on_progress: OnStep | None = None
    ) -> Video:
        """The video of a timeline, whole in memory."""
        frames = np.empty((timeline.num_frames, timeline.height, timeline.width, 3), np.uint8)
        written = 0
        for chunk in self.stream(timeline, sampling, on_progress):
            frames[written : written + len(chunk)] = chunk
            written += len(chunk)
        return Video(frames, timeline.fps)

    @torch.inference_mode()
    def stream(
        self, timeline: Timeline, sampling: Sampling = DEFAULT_SAMPLING, on_progress: OnStep | None = None
    ) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
        """Frames of a timeline as they are generated, in constant memory. Progress counts the steps of all windows.

        Raises:
            PromptError: an overlong negative prompt.
            SizeError: a number of steps outside 1 to MAX_STEPS.
        """
        config, patch = self.config, self.grid.patch
        self._use("codec")
        rollout = self.rollout(timeline)
        windows = rollout.windows()
        num_steps = config.num_steps if sampling.num_steps is None else sampling.num_steps
        guidance = config.guidance if sampling.guidance is None else sampling.guidance
        # all of them first, so that an overlong prompt fails at once and not after the shots before it
        encoded = {text: self.encode_prompt(text) for text in timeline.prompts}
        negative = self.encode_prompt(sampling.negative) if guidance != 1 else sampling.negative
        for number, window in enumerate(windows):
            self._use("codec")
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
                solver=sampling.solver,
                shift=sampling.shift,
                strength=timeline.strength,
                history_noise=config.history_noise,
                on_progress=show,
            )
            rollout.put(window, canvas.grid_latent(tokens, patch))
        self._use("codec")
        yield from rollout.decoded()

    def rollout(self, timeline: Timeline) -> Rollout:
        """The state of a timeline before anything is generated."""
        window_length, _, _ = latent_shape(self.codec, self.config.num_frames, 1, 1)
        return Rollout(timeline, self.grid, window_length, self.config.reference_fps)

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
        solver: str | None = None,
        shift: Number | None = None,
        strength: Number = 1.0,
        history_noise: Number = 0.0,
        on_progress: OnStep | None = None,
    ) -> Float[Tensor, "n p"]:
        """The canvas's tokens after sampling; given tokens come back unchanged.

        A canvas of several shots takes a prompt for each. With `strength` below 1, sampling starts from the canvas's
        own tokens, noised to that level, and takes that share of the steps. Tokens that a model generated before are
        noised to the level `history_noise`. solver and shift replace the model's. Canvas and result are on the CPU.

        Raises:
            PromptError: an overlong prompt.
            SizeError: a number of steps outside 1 to MAX_STEPS.
            ConfigError: an unknown solver, or a shift out of range.
        """
        if not 1 <= num_steps <= MAX_STEPS:
            raise SizeError(f"{num_steps} sampling steps: must be 1 to {MAX_STEPS}")
        if shift is not None and not 0 < shift <= MAX_SHIFT:
            raise ConfigError(f"the shift must be above 0 and up to {MAX_SHIFT:g}, got {shift}")
        prompts = [prompt] if isinstance(prompt, str | EncodedPrompt) else list(prompt)
        config = self.config if shift is None else self.config.model_copy(update={"shift": float(shift)})
        sigmas = _levels(config, canvas.num_grid_tokens, math.ceil(strength * num_steps), strength)
        name = solver or config.solver
        if name not in SOLVERS:
            raise ConfigError(f"the solver must be one of {', '.join(SOLVERS)}, got {name!r}")
        noise = torch.randn(canvas.clean.shape, generator=torch.Generator().manual_seed(seed))
        # at full strength exactly noise: no rounding of the clean tokens may remain
        noised = noise if strength == 1 else add_noise(canvas.clean, noise, sigmas[:1].expand(len(noise)))
        given = canvas.given[:, None]
        level = float(history_noise) * canvas.generated_mask.float()
        start = torch.where(given, add_noise(canvas.clean, noise, level), noised)
        with self._velocity(canvas, prompts, negative, self._guidance(guidance), history_noise) as velocity:
            made = SOLVERS[name].integrate(velocity, start.to(self.device), sigmas, on_progress)
        return torch.where(given, canvas.clean, made.to(CPU))

    @torch.inference_mode()
    def encode_prompt(self, prompt: str) -> EncodedPrompt:
        """A prompt encoded for `sample`, on the CPU, so that many canvases can share it.

        Raises:
            PromptError: an overlong prompt.
        """
        self._use("text_encoder")
        (states,) = self.text_encoder.encode([prompt])
        return EncodedPrompt(*distinct_states(states.to(CPU)))

    def _velocity(
        self,
        canvas: Canvas,
        prompts: Sequence[Prompt],
        negative: Prompt,
        guidance: Guidance,
        history_noise: Number,
    ) -> AbstractContextManager[Velocity]:
        """The guided velocity of the canvas's tokens, on the pipeline's device, inside a context."""
        texts = [self._encoded(prompt) for prompt in prompts]
        # where every generated token is next to a given one, guidance changes nothing and one pass is enough
        is_guided = guidance.scale != 1 and bool((canvas.guidance_falloff(guidance.ramp)[~canvas.given] < 1).any())
        negatives = [self._encoded(negative)] * len(texts) if is_guided else None
        self._use("transformer")
        conditional, unconditional = (
            None if each is None else ConditionedDenoiser(self.transformer, canvas, each, history_noise, self.device)
            for each in (texts, negatives)
        )
        assert conditional is not None
        return guided_velocity(conditional, unconditional, guidance)

    def _encoded(self, prompt: Prompt) -> EncodedPrompt:
        return prompt if isinstance(prompt, EncodedPrompt) else self.encode_prompt(prompt)

    def _guidance(self, scale: Number) -> Guidance:
        config = self.config
        return Guidance(scale, config.guidance_interval, config.guidance_rescale, config.guidance_ramp)

    def _use(self, part: Part) -> None:
        """With offloading, bring one network to the device and the others to the CPU; it stays there until the next."""
        self._check_weights()
        if not self.offload:
            return
        self.text_encoder = self.text_encoder.to(self.device if part == "text_encoder" else CPU)
        self.transformer.to(self.device if part == "transformer" else CPU)
        self.codec.to(self.device if part == "codec" else CPU)

    def _check_weights(self) -> None:
        """Refuse to compute with networks that have no weights.

        Raises:
            ModelError: the pipeline was loaded with weights=False.
        """
        if not self.has_weights:
            raise ModelError(f"model {self.config.name!r} was loaded without its weights; load it with weights=True")

    def num_passes(self) -> int:
        """Forward passes of the transformer for a video of the default size: two per step where guidance applies."""
        config, guidance = self.config, self._guidance(self.config.guidance)
        shape = self.grid.shape(config.num_frames, config.height, config.width)
        tokens = math.prod(side // step for side, step in zip(shape, self.grid.patch, strict=True))
        levels = SOLVERS[config.solver].evaluated(_levels(config, tokens, config.num_steps).tolist())
        return sum(2 if guidance.applies(sigma) else 1 for sigma in levels)

    def cost(self) -> Cost:
        """Memory and arithmetic of a video of the default size."""
        return cost_of_pipeline(self)

    def card(self) -> dict[str, object]:
        """The model card: sizes, parameters, training, scores, and the cost of a video of the default size."""
        return card_of(self)


def _levels(config: PipelineConfig, num_tokens: int, num_steps: int, start: Number = 1.0) -> Float[Tensor, " k"]:
    """The noise levels of a sampler, for a video of that many tokens."""
    shift = shift_factor(num_tokens, reference_tokens=config.reference_tokens, base=config.shift)
    return sigma_schedule(num_steps, shift, start, config.spacing)
