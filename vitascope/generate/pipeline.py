"""The only place where the three networks meet: a prompt and a canvas in, a video out."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from vitascope.codec.network import Codec
from vitascope.codec.streaming import decode_video, encode_video, latent_shape
from vitascope.config import Config, parse_config
from vitascope.errors import ModelError, SizeError
from vitascope.generate.canvas import Canvas, given_frames, make_canvas
from vitascope.generate.cost import Cost, cost_of, matmul_rate
from vitascope.generate.sampler import SOLVERS, OnStep, Velocity, guide, in_interval, rescale
from vitascope.interop.hub import download, is_hub_id
from vitascope.interop.parts import load_codec, load_transformer
from vitascope.interop.wan_folder import PIPELINES, is_wan, load_wan
from vitascope.model.diffusion import Number, shift_factor, sigma_schedule, to_clean, to_velocity
from vitascope.model.patches import pack
from vitascope.model.text import PromptEncoder, TextEncoder, check_prompt
from vitascope.model.transformer import Transformer
from vitascope.video import Video, read_video
from vitascope.weights import Dtype, torch_dtype

MIN_SIDE, MAX_SIDE = 16, 4096
MAX_FRAMES = 30 * 60 * 10
MAX_VIDEO_PIXELS = 2**32  # a minute of 1920x1080 at 30 frames a second; as uint8, 12 GiB
MAX_STEPS = 1000


class PipelineConfig(Config):
    """How a model is meant to be used, and what it was trained on; `model_index.json` holds it."""

    name: str
    height: int = Field(default=64, ge=MIN_SIDE, le=MAX_SIDE)
    width: int = Field(default=64, ge=MIN_SIDE, le=MAX_SIDE)
    num_frames: int = Field(default=17, ge=1, le=MAX_FRAMES)
    fps: float = Field(default=8.0, gt=0, le=240)
    reference_fps: float = Field(default=8.0, gt=0, le=240)
    num_steps: int = Field(default=40, ge=1, le=MAX_STEPS)
    solver: Literal["euler", "heun", "multistep"] = "multistep"
    guidance: float = Field(default=4.0, ge=0, le=100)
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_rescale: float = Field(default=0.0, ge=0, le=1)
    shift: float = Field(default=2.0, gt=0)
    reference_tokens: int | None = Field(default=80, ge=1)  # None: the shift is the same for any number of tokens
    training: dict[str, str | int | float] = Field(default_factory=dict)
    scores: dict[str, float] = Field(default_factory=dict)

    def shift_of(self, num_tokens: int) -> float:
        """How far noise levels move towards noise for a video of this many tokens."""
        reference = num_tokens if self.reference_tokens is None else self.reference_tokens
        return shift_factor(num_tokens, reference_tokens=reference, base=self.shift)


class Pipeline:
    """A model folder, loaded: codec, transformer, text encoder and how to use them."""

    def __init__(self, codec: Codec, transformer: Transformer, text_encoder: PromptEncoder, config: PipelineConfig):
        self.codec = codec.eval().requires_grad_(False)
        self.transformer = transformer.eval().requires_grad_(False)
        self.text_encoder = text_encoder
        self.config = config

    @classmethod
    def load(cls, folder: str | Path, dtype: Dtype = "float32", *, weights: bool = True) -> Pipeline:
        """A model from a folder in diffusers' layout: one of ours, or Wan's. `dtype` is the transformer's.

        With weights=False the networks have shapes only, which is enough for a card.

        Raises:
            ModelError: a part is missing or damaged.
        """
        folder = Path(folder)
        if is_wan(folder):
            wan = load_wan(folder, torch_dtype(dtype), weights=weights)
            config = parse_config(wan.settings, PipelineConfig, source=str(folder))
            return cls(wan.codec, wan.transformer, wan.text_encoder, config)
        config = read_model_index(folder)
        codec = load_codec(folder / "vae", weights=weights)
        transformer = load_transformer(folder / "transformer", torch_dtype(dtype), weights=weights)
        return cls(codec, transformer, TextEncoder.load(folder / "text_encoder", folder / "tokenizer"), config)

    @torch.inference_mode()
    def generate(
        self,
        prompt: str,
        *,
        image: Video | str | Path | None = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        fps: Number | None = None,
        seed: int = 0,
        num_steps: int | None = None,
        guidance: Number | None = None,
        negative: str = "",
        on_progress: OnStep | None = None,
    ) -> Video:
        """A video of the prompt; one frame makes an image. What isn't given is as the model was trained.

        `image` becomes the first frame, resized to the video's size. The same seed gives the same frames.

        Raises:
            PromptError: an empty or overlong prompt.
            SizeError: a size, frame count, rate or number of steps that can't be made.
            MediaError: an image that can't be read.
        """
        config = self.config
        prompt = check_prompt(prompt)
        height = config.height if height is None else height
        width = config.width if width is None else width
        num_frames = config.num_frames if num_frames is None else num_frames
        fps = config.fps if fps is None else float(fps)
        check_size(height, width, num_frames, fps)
        beginning = None if image is None else fit_image(image, height, width)
        canvas = self._canvas(height, width, num_frames, fps, beginning)
        latent = self._made(canvas, prompt, negative, seed, num_steps, guidance, on_progress)
        return decode_video(self.codec, latent, height=height, width=width, num_frames=num_frames, fps=fps)

    @torch.inference_mode()
    def extend(
        self,
        video: Video,
        prompt: str,
        *,
        num_frames: int,
        seed: int = 0,
        num_steps: int | None = None,
        guidance: Number | None = None,
        negative: str = "",
        on_progress: OnStep | None = None,
    ) -> Video:
        """The video and what follows it, `num_frames` in all; its own frames come back as the codec keeps them.

        Frames at the end of `video` that don't fill a latent frame (the codec takes 1 + 4k) are made anew.

        Raises:
            PromptError: an empty or overlong prompt.
            SizeError: nothing to make, or a size or number of steps that can't be.
        """
        prompt, fps = check_prompt(prompt), float(video.fps)
        check_size(video.height, video.width, num_frames, fps)
        stride = self.codec.stride.time
        beginning = Video(video.frames[: 1 + (video.num_frames - 1) // stride * stride], fps)
        canvas = self._canvas(video.height, video.width, num_frames, fps, beginning)
        latent = self._made(canvas, prompt, negative, seed, num_steps, guidance, on_progress)
        size = {"height": video.height, "width": video.width, "num_frames": num_frames}
        return decode_video(self.codec, latent, **size, fps=fps)

    def _made(
        self,
        canvas: Canvas,
        prompt: str,
        negative: str,
        seed: int,
        num_steps: int | None,
        guidance: Number | None,
        on_progress: OnStep | None,
    ) -> Float[Tensor, "c t h w"]:
        """The latent of a filled canvas; what isn't given is as the model was trained."""
        tokens = self.fill(
            canvas,
            prompt,
            negative=negative,
            seed=seed,
            num_steps=self.config.num_steps if num_steps is None else num_steps,
            guidance=self.config.guidance if guidance is None else guidance,
            on_progress=on_progress,
        )
        return canvas.grid_latent(tokens, self.transformer.config.patch)

    def _canvas(self, height: int, width: int, num_frames: int, fps: float, beginning: Video | None) -> Canvas:
        frames, rows, columns = latent_shape(self.codec, num_frames, height, width)
        _, patch_rows, patch_columns = self.transformer.config.patch
        rows, columns = -(-rows // patch_rows) * patch_rows, -(-columns // patch_columns) * patch_columns
        latent = torch.zeros(self.codec.latent_channels, frames, rows, columns)
        given = given_frames(latent, [])
        if beginning is not None:
            stride = self.codec.stride
            padded = pad_to(beginning, rows * stride.rows, columns * stride.columns)
            known = encode_video(self.codec, padded)[:, :frames]
            latent[:, : known.shape[1]] = known
            given = given_frames(latent, range(known.shape[1]))
        return make_canvas(
            latent,
            given,
            fps=fps,
            reference_fps=self.config.reference_fps,
            patch=self.transformer.config.patch,
            time_stride=self.codec.stride.time,
        )

    @torch.inference_mode()
    def fill(
        self,
        canvas: Canvas,
        prompt: str,
        *,
        negative: str = "",
        seed: int = 0,
        num_steps: int = 40,
        guidance: Number = 1.0,
        on_progress: OnStep | None = None,
    ) -> Float[Tensor, "n p"]:
        """The canvas's tokens with everything made that wasn't given; given tokens come back unchanged.

        Raises:
            PromptError: an overlong prompt.
            SizeError: fewer than one step, or more than a thousand.
        """
        if not 1 <= num_steps <= MAX_STEPS:
            raise SizeError(f"{num_steps} sampling steps: must be 1 to {MAX_STEPS}")
        velocity = self._velocity(canvas, prompt, negative, guidance)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(canvas.clean.shape, generator=generator)
        start = torch.where(canvas.given[:, None], canvas.clean, noise)
        shift = self.config.shift_of(canvas.num_grid_tokens)
        return SOLVERS[self.config.solver](velocity, start, sigma_schedule(num_steps, shift), on_progress)

    def _velocity(self, canvas: Canvas, prompt: str, negative: str, guidance: Number) -> Velocity:
        """The guided velocity of the canvas's tokens; given tokens stand still."""
        made = ~canvas.given[:, None]
        conditional = self._clean(canvas, prompt)
        unconditional = self._clean(canvas, negative) if guidance != 1 else conditional

        def velocity(x: Tensor, sigma: float) -> Tensor:
            target = conditional(x, sigma)
            if guidance != 1 and in_interval(sigma, self.config.guidance_interval):
                guided = guide(target, unconditional(x, sigma), guidance)
                target = rescale(guided, target, self.config.guidance_rescale)
            return made * to_velocity(target, x, torch.full((len(x),), sigma), "clean")

        return velocity

    def _clean(self, canvas: Canvas, text: str) -> Callable[[Tensor, float], Tensor]:
        """The transformer's clean tokens for (noisy tokens, sigma); the text is encoded once."""
        (context,) = self.text_encoder.encode([text])
        cache = self.transformer.encode_text(context)

        def clean(x: Tensor, sigma: float) -> Tensor:
            packed = pack([canvas.noised(x, torch.full((canvas.num_frames,), sigma), context)])
            output = self.transformer(packed, text_cache=cache)
            return to_clean(output, x, packed.token_sigmas, self.transformer.config.prediction)

        return clean

    def card(self, *, measure: bool = False) -> dict[str, object]:
        """What a model card says: sizes, parameters, training, scores, and what a video of the usual size takes.

        With `measure` also how long at least, by this machine's rate of arithmetic.
        """
        count = {
            "transformer": _num_parameters(self.transformer),
            "codec": _num_parameters(self.codec),
            "text encoder": self.text_encoder.num_parameters,
        }
        rate = matmul_rate(next(self.transformer.parameters()).dtype) if measure else None
        return {
            **self.config.model_dump(),
            "parameters": count,
            "stride": tuple(self.codec.stride),
            "a video takes": self.cost().card(rate),
        }

    def cost(self) -> Cost:
        """The memory and the arithmetic of a video as the model was trained."""
        config = self.config
        passes = config.num_steps * (1 if config.guidance == 1 else 2) * (2 if config.solver == "heun" else 1)
        size = {"height": config.height, "width": config.width, "num_frames": config.num_frames}
        return cost_of(self.codec, self.transformer, self.text_encoder.num_bytes, passes, **size)


def read_model_index(folder: Path) -> PipelineConfig:
    """The pipeline config in a model folder.

    Raises:
        ModelError: no model_index.json, or one of another system.
    """
    path = folder / "model_index.json"
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"no model in {folder}: model_index.json is missing; of Wan's models take those in diffusers' layout"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not readable JSON: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict) or tree.get("_class_name") != "VitascopePipeline":
        found = tree.get("_class_name") if isinstance(tree, dict) else None
        raise ModelError(f"{path} doesn't describe a Vitascope model or a {' or '.join(PIPELINES)}, but {found!r}")
    return parse_config(tree.get("pipeline", {}), PipelineConfig, source=str(path))


def find_model(model: str | Path) -> Path:
    """The folder of a bundled model's name, of a path, or of a Hugging Face id (owner/name), which is downloaded.

    Raises:
        ModelError: none of them; the message lists the bundled names.
    """
    bundled = Path(str(resources.files("vitascope"))) / "models"
    names = sorted(path.parent.name for path in bundled.glob("*/model_index.json"))
    if str(model) in names:
        return bundled / str(model)
    if Path(model).is_dir():
        return Path(model)
    if isinstance(model, str) and is_hub_id(model):
        return download(model)
    known = f"a folder, or one of {', '.join(names)}" if names else "a model's folder; no model is bundled here"
    raise ModelError(f"no model {str(model)!r}: give {known}")


def check_size(height: int, width: int, num_frames: int, fps: float) -> None:
    """Refuse sizes that can't be made, before anything is allocated.

    Raises:
        SizeError: naming the value and the range.
    """
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE):
        raise SizeError(f"{width}x{height} pixels: each side must be {MIN_SIDE} to {MAX_SIDE}")
    if not 1 <= num_frames <= MAX_FRAMES:
        raise SizeError(f"{num_frames} frames: must be 1 to {MAX_FRAMES}")
    if height * width * num_frames > MAX_VIDEO_PIXELS:
        most = MAX_VIDEO_PIXELS // (height * width)
        raise SizeError(f"{num_frames} frames of {width}x{height} don't fit in memory: at most {most} of that size")
    if not 1 <= fps <= 240:
        raise SizeError(f"{fps} frames per second: must be 1 to 240")


def fit_image(image: Video | str | Path, height: int, width: int) -> Video:
    """The image (or a video's first frame), cropped to the wanted aspect around its centre and resized.

    Raises:
        MediaError: a file that can't be read.
    """
    video = image if isinstance(image, Video) else read_video(image, max_frames=1)
    return Video(video.frames[:1], video.fps).fit(height, width)


def pad_to(video: Video, height: int, width: int) -> Video:
    """The video with its last row and column repeated down to `height` and out to `width`."""
    edge = ((0, 0), (0, height - video.height), (0, width - video.width), (0, 0))
    return Video(np.pad(video.frames, edge, mode="edge"), video.fps)


def _num_parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
