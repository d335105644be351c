"""From a prompt to a video with a model of random weights: sizes, seeds, what is given, and every way to be refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vitascope.codec.streaming import encode_video, reconstruct
from vitascope.errors import ConfigError, ModelError, PromptError, SizeError
from vitascope.generate.footage import fit_image, pad_to
from vitascope.generate.guidance import ConditionedDenoiser, Guidance, guide, guided_velocity
from vitascope.generate.pipeline import Pipeline
from vitascope.hub.find import find_model
from vitascope.hub.registry import load_codec, load_model
from vitascope.hub.weights import WEIGHTS_FILE
from vitascope.model.canvas import Canvas, Pin, given_frames, make_canvas
from vitascope.model.diffusion import to_velocity
from vitascope.model.patches import pack, unpack
from vitascope.video import Video

PROMPT = "a red ball rolls"
PATCH = (1, 2, 2)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def canvas(latent: Tensor, given: list[int], pins: list[Pin] | None = None) -> Canvas:
    mask = given_frames(latent, given)
    return make_canvas(latent, mask, pins or [], fps=8.0, reference_fps=8.0, patch=PATCH, time_stride=4)


def with_config(pipeline: Pipeline, **changes: object) -> Pipeline:
    config = pipeline.config.model_copy(update=changes)
    return Pipeline(pipeline.codec, pipeline.transformer, pipeline.text_encoder, config)


@pytest.mark.parametrize(
    ("height", "width", "num_frames"), [(32, 32, 9), (34, 50, 7), (50, 34, 2), (16, 80, 1), (33, 17, 6)]
)
def test_a_video_has_the_size_asked_for(pipeline, height, width, num_frames):
    video = pipeline.generate(PROMPT, height=height, width=width, num_frames=num_frames, fps=12)
    assert video.frames.shape == (num_frames, height, width, 3)
    assert video.fps == 12.0
    assert video.frames.std() > 0


def test_what_is_not_asked_for_is_as_the_model_was_trained(pipeline):
    video = pipeline.generate(PROMPT)
    assert video.frames.shape == (9, 32, 32, 3)
    assert video.fps == 8.0


def test_a_seed_gives_the_same_bytes_whatever_came_before(pipeline):
    first = pipeline.generate(PROMPT, seed=3)
    pipeline.generate("something else", num_frames=1, seed=9)
    torch.manual_seed(123)
    assert np.array_equal(pipeline.generate(PROMPT, seed=3).frames, first.frames)
    assert not np.array_equal(pipeline.generate(PROMPT, seed=4).frames, first.frames)
    assert not np.array_equal(pipeline.generate("a blue cube", seed=3).frames, first.frames)


def test_guidance_of_one_is_the_conditional_answer(pipeline):
    """And any other is not: the negative prompt then counts."""
    plain = [pipeline.generate(PROMPT, guidance=1, negative=text).frames for text in ("", "noise")]
    guided = [pipeline.generate(PROMPT, guidance=3, negative=text).frames for text in ("", "noise")]
    assert np.array_equal(*plain)
    assert not np.array_equal(*guided)
    assert not np.array_equal(plain[0], guided[0])


def test_guidance_outside_its_interval_is_none(pipeline):
    never = with_config(pipeline, guidance_interval=(0.0, 0.0))
    assert np.array_equal(never.generate(PROMPT, guidance=5).frames, pipeline.generate(PROMPT, guidance=1).frames)


def test_guidance_grows_with_the_time_from_what_is_given(pipeline):
    """With one step, tokens don't affect each other. Fails when the ramp is ignored or reversed."""
    filling = canvas(random(4, 5, 4, 4), [0])

    def drawn(ramp: int, guidance: float) -> Tensor:
        maker = with_config(pipeline, guidance_ramp=ramp, solver="euler")
        return maker.sample(filling, PROMPT, negative="noise", num_steps=1, guidance=guidance).view(5, 4, -1)

    plain, full, ramped = drawn(0, 1.0), drawn(0, 5.0), drawn(2, 5.0)
    assert torch.allclose(ramped[:2], plain[:2], atol=1e-5)
    assert torch.allclose(ramped[2], (plain[2] + full[2]) / 2, atol=1e-5)
    assert torch.equal(ramped[3:], full[3:])
    assert not torch.allclose(plain[1], full[1], atol=1e-3)


def test_guidance_leads_away_from_the_other_text_alone(pipeline):
    """Compared with the formula, with a pin, given frames and noise on generated ones."""
    filling = canvas(random(4, 4, 4, 4), [0, 2], [Pin(random(4, 1, 4, 4, seed=1), 6)])
    guidance = Guidance(3.0, (0.0, 1.0), 0.0, 0)
    told, untold = (
        ConditionedDenoiser(pipeline.transformer, filling, [pipeline.encode_prompt(prompt)], 0.1)
        for prompt in (PROMPT, "noise")
    )
    x = random(*filling.clean.shape, seed=5)
    with torch.no_grad():
        parts = [one(x, 0.5) for one in (told, untold)]
        wanted = ~filling.given[:, None] * to_velocity(guide(*parts, 3.0), x, torch.full((len(x),), 0.5), "clean")
        with guided_velocity(told, untold, guidance) as velocity:
            made = velocity(x, 0.5)
    torch.testing.assert_close(made, wanted, rtol=0, atol=1e-5)
    assert (parts[0] - parts[1]).abs().max() > 1e-3


def test_where_all_is_near_there_is_one_pass(pipeline, monkeypatch):
    """Without guidance, the pass with the negative prompt is skipped."""
    passes = []
    original = ConditionedDenoiser.__call__
    monkeypatch.setattr(ConditionedDenoiser, "__call__", lambda *given: passes.append(1) or original(*given))
    ramped = with_config(pipeline, guidance_ramp=9)
    ramped.sample(canvas(random(4, 3, 4, 4), [0, 2]), PROMPT, num_steps=1, guidance=3.0)
    assert len(passes) == 1


@pytest.mark.parametrize("solver", ["euler", "heun", "multistep", "unipc"])
def test_given_tokens_come_back_bit_for_bit(pipeline, solver):
    latent = random(4, 4, 4, 6)
    filling = canvas(latent, [0, 2], [Pin(random(4, 1, 4, 4, seed=1), 6)])
    tokens = with_config(pipeline, solver=solver).sample(filling, PROMPT, num_steps=4, guidance=3.0)
    assert torch.equal(tokens[filling.given], filling.clean[filling.given])
    assert not torch.isclose(tokens[~filling.given], filling.clean[~filling.given]).any(dim=1).all()
    assert torch.isfinite(tokens).all()


def test_a_request_replaces_the_models_solver_and_shift(pipeline):
    """Fails when one of them is dropped on the way to the sampler."""
    asked = {"num_frames": 9, "num_steps": 4, "height": 32, "width": 32}
    plain = pipeline.generate(PROMPT, **asked).frames
    for changes in ({"solver": "heun"}, {"solver": "unipc"}, {"shift": 9.0}, {"solver": "unipc", "shift": 9.0}):
        frames = pipeline.generate(PROMPT, **asked, **changes).frames
        assert np.array_equal(frames, with_config(pipeline, **changes).generate(PROMPT, **asked).frames)
        assert not np.array_equal(frames, plain)
    own = {"solver": pipeline.config.solver, "shift": pipeline.config.shift}
    assert np.array_equal(pipeline.generate(PROMPT, **asked, **own).frames, plain)
    for wrong in ({"solver": "ddim"}, {"shift": 0.0}, {"shift": float("nan")}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            pipeline.generate(PROMPT, **wrong)
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            pipeline.sample(canvas(random(4, 3, 4, 4), [0]), PROMPT, num_steps=1, **wrong)


def test_what_is_not_given_is_not_looked_at(pipeline):
    """Fails if a canvas's placeholder leaks into the result."""
    latent = random(4, 3, 4, 4)
    other = latent.clone()
    other[:, 1:] = 77.0
    results = [pipeline.sample(canvas(z, [0]), PROMPT, num_steps=2) for z in (latent, other)]
    assert torch.equal(*results)


def test_what_is_given_and_pinned_changes_what_is_made(pipeline):
    latent = random(4, 3, 4, 4)
    pins = [[], [Pin(random(4, 1, 4, 4, seed=1), 20)], [Pin(random(4, 1, 4, 4, seed=1), 40)]]
    made = [pipeline.sample(canvas(latent, [0], pin), PROMPT, num_steps=2)[4:12] for pin in pins]
    made.append(pipeline.sample(canvas(2 * latent, [0]), PROMPT, num_steps=2)[4:12])
    for i, first in enumerate(made):
        assert not any(torch.allclose(first, second, atol=1e-4) for second in made[:i])


def test_a_sample_does_not_depend_on_its_batch(pipeline):
    context = pipeline.text_encoder.encode([PROMPT, "a much longer description of something else"])
    canvases = [canvas(random(4, 3, 4, 4), [0]), canvas(random(4, 2, 6, 4, seed=1), [], [Pin(random(4, 1, 2, 2), 3)])]
    samples = [
        filling.noised(filling.clean, torch.full((filling.num_frames,), 0.6), [text])
        for filling, text in zip(canvases, context, strict=True)
    ]
    with torch.inference_mode():
        together = unpack(pipeline.transformer(pack(samples)), pack(samples).lengths)
        alone = [pipeline.transformer(pack([sample])) for sample in samples]
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_an_image_becomes_the_first_frame(pipeline, picture):
    """To the codec's own ceiling: the first latent frame is the image's, and the codec's first frame stands alone."""
    image = fit_image(picture, 32, 48)
    video = pipeline.generate(PROMPT, image=image, height=32, width=48)
    assert np.array_equal(video.frames[0], reconstruct(pipeline.codec, image).frames[0])
    assert not np.array_equal(video.frames[-1], video.frames[0])


def test_an_image_on_disk_is_the_same_as_in_memory(pipeline, picture, tmp_path):
    saved = picture.save(tmp_path / "picture.png")
    first, second = (pipeline.generate(PROMPT, image=image, num_frames=2) for image in (saved, picture))
    assert np.array_equal(first.frames, second.frames)


def test_the_whole_image_is_seen_at_a_size_that_the_patch_does_not_divide(pipeline, picture, monkeypatch):
    """34 x 50 pixels are coded as 48 x 64: what is cropped away at the end must be padding, not picture."""
    canvases: list[Canvas] = []
    original = pipeline.sample

    def sample(filling: Canvas, *arguments: object, **options: object) -> Tensor:
        canvases.append(filling)
        return original(filling, *arguments, **options)

    monkeypatch.setattr(pipeline, "sample", sample)
    pipeline.generate(PROMPT, image=picture, height=34, width=50, num_frames=5)
    padded = pad_to(fit_image(picture, 34, 50), 48, 64)
    assert np.array_equal(padded.frames[:, :34, :50], picture.fit(34, 50).frames)
    given = canvases[0].grid_latent(canvases[0].clean, PATCH)[:, :1]
    torch.testing.assert_close(given, encode_video(pipeline.codec, padded))


def test_progress_is_told(pipeline):
    steps: list[tuple[int, int]] = []
    pipeline.generate(PROMPT, num_frames=1, num_steps=4, on_progress=lambda *step: steps.append(step))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 7, "width": 7}, "7x7 pixels"),
        ({"height": 0}, "32x0 pixels"),
        ({"width": 100_000}, "100000x32 pixels"),
        ({"num_frames": 0}, "0 frames"),
        ({"num_frames": -3}, "-3 frames"),
        ({"num_frames": 10**9}, "frames: must be"),
        ({"height": 4096, "width": 4096, "num_frames": 18_000}, "at most 256 frames of that size"),
        ({"fps": 0.0}, "frames per second"),
    ],
)
def test_sizes_that_cannot_be_made_are_refused(pipeline, options, message):
    with pytest.raises(SizeError, match=message):
        pipeline.generate(PROMPT, **options)


def test_an_image_of_one_frame_leaves_nothing_to_make(pipeline, picture):
    with pytest.raises(SizeError, match="nothing to generate"):
        pipeline.generate(PROMPT, image=picture, num_frames=1)


@pytest.mark.parametrize("prompt", ["", "  \n", "x" * 100_000, "word " * 3000, "a\x00b"])
def test_prompts_that_say_nothing_or_too_much_are_refused(pipeline, prompt):
    with pytest.raises(PromptError):
        pipeline.generate(prompt)


def test_a_prompt_in_chinese_works(pipeline):
    assert pipeline.generate("一个红色的球", num_frames=1).num_frames == 1


def copy_of(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "model", symlinks=True))


def test_a_loaded_model_is_the_same_model(pipeline, model_folder):
    again = Pipeline.load(str(model_folder))
    assert np.array_equal(again.generate(PROMPT).frames, pipeline.generate(PROMPT).frames)


def test_half_precision_stays_near(pipeline, model_folder):
    half = Pipeline.load(model_folder, dtype="bfloat16")
    assert half.transformer.proj_out.weight.dtype == torch.bfloat16
    one, other = (p.generate(PROMPT).frames.astype(int) for p in (pipeline, half))
    assert 0 < np.abs(one - other).mean() < 3


def test_a_card_needs_no_weights(pipeline, model_folder):
    empty = Pipeline.load(model_folder, weights=False)
    assert all(parameter.is_meta for parameter in empty.transformer.parameters())
    assert all(weight.is_meta for weight in empty.text_encoder.weights.values())
    assert empty.card() == pipeline.card()


@pytest.mark.parametrize("part", ["vae", "transformer"])
def test_damaged_weights_are_refused(model_folder, tmp_path, part):
    """One bit is enough."""
    path = copy_of(model_folder, tmp_path) / part / WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        Pipeline.load(tmp_path / "model")


@pytest.mark.parametrize("part", ["vae", "transformer", "model_index.json", "tokenizer"])
def test_a_missing_part_is_refused(model_folder, tmp_path, part):
    path = copy_of(model_folder, tmp_path) / part
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(ModelError):
        Pipeline.load(tmp_path / "model")


def test_a_model_of_another_system_is_refused(model_folder, tmp_path):
    path = copy_of(model_folder, tmp_path) / "model_index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "_class_name": "FluxPipeline"}))
    with pytest.raises(ModelError, match="describes 'FluxPipeline'; known here: VitascopePipeline, WanPipeline"):
        load_model(tmp_path / "model")
    path.write_text("[1, 2")
    with pytest.raises(ModelError, match="not readable JSON"):
        load_model(tmp_path / "model")


def test_a_transformer_in_the_codecs_place_is_refused(model_folder, tmp_path):
    folder = copy_of(model_folder, tmp_path)
    shutil.copy(folder / "transformer" / "config.json", folder / "vae" / "config.json")
    (folder / "vae" / "manifest.json").unlink()
    with pytest.raises(ModelError, match="describes 'VitascopeTransformer'; known here: VitascopeCodec"):
        Pipeline.load(folder)


def test_an_unknown_model_is_refused_and_a_folder_found(tmp_path):
    with pytest.raises(ModelError, match="no model 'nonsense'"):
        find_model("nonsense")
    assert find_model(tmp_path) == tmp_path


def test_a_codec_is_loaded_without_the_rest_of_its_model(pipeline, model_folder, tmp_path):
    (tmp_path / "vae").symlink_to(model_folder / "vae", target_is_directory=True)
    codec = load_codec(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(codec.parameters(), pipeline.codec.parameters(), strict=True))


def test_the_card_tells_the_size_of_every_part(pipeline):
    card = pipeline.card()
    assert card["stride"] == (4, 8, 8)
    assert card["parameters"]["transformer"] == sum(p.numel() for p in pipeline.transformer.parameters())
    assert card["name"] == "tiny"


def test_a_video_as_image_gives_its_first_frame(pipeline, picture):
    clip = Video(np.concatenate([picture.frames, 255 - picture.frames]), 8.0)
    first, second = (pipeline.generate(PROMPT, image=image, num_frames=2) for image in (clip, picture))
    assert np.array_equal(first.frames, second.frames)
