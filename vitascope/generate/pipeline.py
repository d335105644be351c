"""The only place where the three networks meet: a prompt and a canvas in, a video out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vitascope.codec.network import Codec, CodecConfig
from vitascope.codec.streaming import decode_video, encode_video, latent_shape
from vitascope.errors import SizeError
from vitascope.generate.canvas import Canvas, given_frames, make_canvas
from vitascope.generate.footage import fit_image, pad_to
from vitascope.generate.model_folder import PipelineConfig, read_model_index
from vitascope.generate.sampler import SOLVERS, OnStep, Velocity, guide, in_interval, rescale
from vitascope.generate.sizes import MAX_STEPS, check_size
from vitascope.model.diffusion import Number, shift_factor, sigma_schedule, to_clean, to_velocity
from vitascope.model.patches import pack
from vitascope.model.text import TextEncoder, check_prompt
from vitascope.model.transformer import Transformer, TransformerConfig
from vitascope.video import Video
from vitascope.weights import load_network_config, load_weights


class Pipeline:
    """A model folder, loaded: codec, transformer, text encoder and how to use them."""

    def __init__(self, codec: Codec, transformer: Transformer, text_encoder: TextEncoder, config: PipelineConfig):
        self.codec = codec.eval().requires_grad_(False)
        self.transformer = transformer.eval().requires_grad_(False)
        self.text_encoder = text_encoder
        self.config = config

    @classmethod
    def load(cls, folder: str | Path) -> Pipeline:
        """A model from a folder in diffusers' layout.

        Raises:
            ModelError: a part is missing or damaged.
        """
        folder = Path(folder)
        config = read_model_index(folder)
        codec = Codec(load_network_config(folder / "vae", "Codec", CodecConfig))
        load_weights(codec, folder / "vae")
        transformer = Transformer(load_network_config(folder / "transformer", "Transformer", TransformerConfig))
        load_weights(transformer, folder / "transformer")
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
        shift = shift_factor(
            canvas.num_grid_tokens, reference_tokens=self.config.reference_tokens, base=self.config.shift
        )
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

    def card(self) -> dict[str, object]:
        """What a model card says: sizes, parameters, training and scores."""
        count = {
            "transformer": _num_parameters(self.transformer),
            "codec": _num_parameters(self.codec),
            "text encoder": self.text_encoder.num_parameters,
        }
        return {**self.config.model_dump(), "parameters": count, "stride": tuple(self.codec.stride)}


def _num_parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
