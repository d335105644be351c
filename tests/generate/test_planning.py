"""Every verb: given frames come back, generated ones depend on them, and lengths match the request.

The codec is the bundled one, because a random one loses everything. The transformer is random: its frames are the worst
possible neighbours of given ones. If `Rollout.canvas` drops known frames, a test of every verb here fails.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.generate.conftest import BUNDLED
from vitascope.codec.quality import psnr
from vitascope.codec.streaming import reconstruct
from vitascope.errors import PromptError, SizeError
from vitascope.evaluate.measures.oracle import OraclePipeline
from vitascope.generate.footage import fit_image
from vitascope.generate.pipeline import Pipeline
from vitascope.generate.planning import plan
from vitascope.generate.requests import Edit, Extend, Generate
from vitascope.hub.card import PipelineConfig
from vitascope.hub.registry import load_codec
from vitascope.model.canvas import Canvas
from vitascope.model.transformer import Transformer, TransformerConfig
from vitascope.video import Video

PROMPT = "a square moves"
MOST_LOST = 0.5  # dB under the codec's own reconstruction
QUICK = {"num_steps": 2, "guidance": 1.0}


@pytest.fixture(scope="module")
def keeper(pipeline: Pipeline) -> Pipeline:
    """The bundled codec and a random transformer: 48x32 pixels, windows of 17 frames."""
    codec = load_codec(BUNDLED)
    size = {"num_layers": 1, "num_heads": 2, "head_dim": 16, "ffn_width": 32, "text_width": 384}
    channels = codec.latent_channels
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = Transformer(
            TransformerConfig(patch=(1, 1, 1), in_channels=channels, out_channels=channels, **size)
        )
        nn.init.normal_(transformer.proj_out.weight, std=0.2)
        nn.init.normal_(transformer.blocks[0].scale_shift_table)  # a fresh one hardly looks around
    config = PipelineConfig(name="keeper", height=32, width=48, num_frames=17, num_steps=2, guidance=1.0)
    return Pipeline(codec, transformer, pipeline.text_encoder, config)


def moving(num_frames: int, start: int = 0, height: int = 32, width: int = 48, fps: float = 8.0) -> Video:
    """A dark square that moves to the right over a slope of colours."""
    rows, columns = np.mgrid[0:height, 0:width]
    slope = np.stack([160 + columns, 255 - 3 * rows, 90 + rows + columns], axis=-1).clip(0, 255).astype(np.uint8)
    frames = np.repeat(slope[None], num_frames, axis=0)
    for index, frame in enumerate(frames):
        frame[10:20, start + index : start + index + 10] = 30
    return Video(frames, fps)


def lost(pipeline: Pipeline, returned: np.ndarray, given: Video) -> float:
    """By how many dB given frames come back worse than the codec alone returns them."""
    return psnr(reconstruct(pipeline.codec, given).frames, given.frames) - psnr(returned, given.frames)


@pytest.mark.parametrize("num_given", [1, 2, 7, 9, 17])
def test_an_extended_video_begins_with_the_given_one(keeper, num_given):
    given = moving(num_given)
    video = keeper.extend(given, seconds=1, **QUICK)
    assert video.num_frames == num_given + 8
    assert lost(keeper, video.frames[:num_given], given) < MOST_LOST
    assert psnr(video.frames[-8:], np.repeat(given.frames[-1:], 8, axis=0)) < 20  # the rest is the transformer's


@pytest.mark.parametrize("num_given", [1, 2, 7, 9])
def test_the_given_frames_that_come_first_are_counted(keeper, num_given):
    """An interrupt may discard these frames; frames that only fill latent frames are never shown and don't count."""
    given = moving(num_given)
    forward, backward = (
        plan(keeper, Extend(video=given, prompt="", seconds=1, backward=backward)) for backward in (False, True)
    )
    mask = Video(np.repeat(given.frames[:1, :, :1], 48, axis=2), 1.0)  # white above, black below
    masked = plan(keeper, Edit(video=given, prompt="a cat", strength=1, mask=mask))
    assert [keeper.grid.num_given_first(timeline) for timeline in (forward, backward, masked)] == [num_given, 0, 0]


@pytest.mark.parametrize("seconds", [0.125, 0.5, 0.75, 4])
def test_a_video_extended_backward_ends_with_the_given_one(keeper, seconds):
    given = moving(17)
    video = keeper.extend(given, PROMPT, seconds=seconds, backward=True, **QUICK)
    assert video.num_frames == 17 + round(8 * seconds)
    assert np.array_equal(video.frames[-17:], reconstruct(keeper.codec, given).frames)


def test_a_filled_video_keeps_what_is_not_missing(keeper):
    """Two holes: the first begins at the requested time, the second is widened to latent frames."""
    given = moving(33)
    video = keeper.fill(given, [(0.75, 1.25), (2.625, 3)], PROMPT, **QUICK)
    assert video.num_frames == 33
    for kept in (slice(0, 6), slice(10, 18)):  # latent frames begin at 6, 10, 14, 18, 22, 26
        assert lost(keeper, video.frames[kept], Video(given.frames[kept], 8.0)) < 1.3  # the shorter, the more
    assert np.array_equal(video.frames[26:], reconstruct(keeper.codec, Video(given.frames[26:], 8.0)).frames)
    for hole in (slice(6, 10), slice(21, 24)):
        assert psnr(video.frames[hole], given.frames[hole]) < 20


def test_a_hole_may_be_at_either_end(keeper):
    given = moving(17)
    at_start = keeper.fill(given, [(0, 0.5)], **QUICK)
    assert np.array_equal(at_start.frames[4:], reconstruct(keeper.codec, Video(given.frames[4:], 8.0)).frames)
    at_end = keeper.fill(given, [(1.625, 9)], **QUICK)
    assert lost(keeper, at_end.frames[:13], Video(given.frames[:13], 8.0)) < MOST_LOST
    assert at_start.num_frames == at_end.num_frames == 17


@pytest.mark.parametrize("num_frames", [1, 4, 9, 40])  # of the second: even an image, even more than a window
def test_connected_videos_both_come_back(keeper, num_frames):
    first, second = moving(10), moving(num_frames, start=20)
    video = keeper.connect(first, second, seconds=1, **QUICK)
    assert video.num_frames == 10 + 8 + num_frames
    assert lost(keeper, video.frames[:10], first) < MOST_LOST
    assert np.array_equal(video.frames[-num_frames:], reconstruct(keeper.codec, second).frames)


def test_a_loop_leads_from_the_end_to_the_beginning(keeper):
    clip = moving(13)
    video = keeper.loop(clip, seconds=1, **QUICK)
    assert video.num_frames == 13 + 8
    assert lost(keeper, video.frames[:13], clip) < MOST_LOST
    turned = Video(np.concatenate([moving(5, start=25).frames, clip.frames[5:]]), 8.0)
    other = keeper.loop(turned, seconds=1, **QUICK)
    assert not np.array_equal(video.frames[-1], other.frames[-1])


@pytest.mark.parametrize(("num_frames", "num_still"), [(6, 1), (16, 3), (17, 4), (18, 1)])
def test_first_and_last_image_come_back(keeper, picture, num_frames, num_still):
    """Both as the codec returns a picture; the last one stands still for as long as its latent frame."""
    last = moving(1, start=20)
    video = keeper.generate(PROMPT, image=picture, last_image=last, num_frames=num_frames)
    assert video.num_frames == num_frames
    assert lost(keeper, video.frames[:1], fit_image(picture, 32, 48)) < MOST_LOST
    returned = reconstruct(keeper.codec, last).frames
    assert np.array_equal(video.frames[-num_still:], np.repeat(returned, num_still, axis=0))
    assert psnr(video.frames[-num_still - 1 : -num_still], last.frames) < 20


def test_an_edit_keeps_what_the_mask_leaves_out(keeper):
    """Except for a seam of one latent cell, which the codec's layers mix with generated neighbours."""
    clip, mask = moving(9), np.zeros((1, 32, 48, 3), np.uint8)
    mask[:, :, :12] = 255
    video = keeper.edit(clip, "a cat", strength=1, mask=Video(mask, 1.0), **QUICK)
    copy = reconstruct(keeper.codec, clip).frames
    left, right = (slice(None), slice(None), slice(16)), (slice(None), slice(None), slice(24, None))
    assert psnr(copy[right], clip.frames[right]) - psnr(video.frames[right], clip.frames[right]) < MOST_LOST
    assert psnr(video.frames[left], clip.frames[left]) < 20


def test_an_edit_begins_with_the_clip_and_takes_its_share_of_the_steps(keeper):
    steps: list[tuple[int, int]] = []
    weak, other = (
        keeper.edit(moving(9, start), "a cat", strength=0.3, num_steps=10, on_progress=lambda *step: steps.append(step))
        for start in (0, 20)
    )
    assert steps == 2 * [(1, 3), (2, 3), (3, 3)]
    assert not np.array_equal(weak.frames, other.frames)
    anew = [keeper.edit(moving(9, start), PROMPT, strength=1, num_steps=10).frames for start in (0, 20)]
    assert np.array_equal(*anew)
    assert np.array_equal(anew[0], keeper.generate(PROMPT, num_frames=9, num_steps=10).frames)


ABILITIES: dict[str, Callable[[Pipeline, Video], Video]] = {
    "forward": lambda pipeline, given: pipeline.extend(given, seconds=0.5),
    "backward": lambda pipeline, given: pipeline.extend(given, seconds=0.5, backward=True),
    "fill": lambda pipeline, given: pipeline.fill(given, [(0.625, 1.125)]),
    "connect": lambda pipeline, given: pipeline.connect(given, moving(5, start=10), seconds=0.5),
    "connect to": lambda pipeline, given: pipeline.connect(moving(5, start=10), given, seconds=0.5),
    "loop": lambda pipeline, given: pipeline.loop(given, seconds=0.5),
    "first": lambda pipeline, given: pipeline.generate(PROMPT, image=given, num_frames=5),
    "last": lambda pipeline, given: pipeline.generate(PROMPT, last_image=given, num_frames=5),
    "reference": lambda pipeline, given: pipeline.generate(PROMPT, references=[given], num_frames=5),
}


@pytest.mark.parametrize("ability", ABILITIES)
def test_what_is_made_depends_on_what_is_given(keeper, monkeypatch, ability):
    """Fails when given frames are put back at the end instead of being seen."""
    made: list[Tensor] = []
    original = keeper.sample

    def sample(canvas: Canvas, *arguments: object, **options: object) -> Tensor:
        tokens = original(canvas, *arguments, **options)
        made.append(tokens[~canvas.given])
        return tokens

    monkeypatch.setattr(keeper, "sample", sample)
    for start in (0, 20, 0):
        ABILITIES[ability](keeper, moving(9, start))
    first, other, again = made
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


@pytest.mark.parametrize(
    "call",
    [
        lambda p, **options: p.generate(PROMPT, num_frames=5, **options),
        lambda p, **options: p.extend(moving(5), seconds=1, **options),
        lambda p, **options: p.fill(moving(9), [(0.5, 1)], **options),
        lambda p, **options: p.connect(moving(5), moving(5), seconds=1, **options),
        lambda p, **options: p.loop(moving(5), seconds=1, **options),
        lambda p, **options: p.edit(moving(5), PROMPT, strength=1, **options),
    ],
    ids=["generate", "extend", "fill", "connect", "loop", "edit"],
)
def test_every_ability_takes_the_same_options(keeper, call):
    options = {"height": 16, "width": 32, "fps": 6, "num_steps": 1, "negative": "rain"}
    plain, other, guided = (
        call(keeper, **options, **more) for more in ({"guidance": 1}, {"guidance": 1, "seed": 1}, {"guidance": 3})
    )
    assert (plain.height, plain.width, plain.fps) == (16, 32, 6)
    assert not np.array_equal(plain.frames, other.frames)
    assert not np.array_equal(plain.frames, guided.frames)


def test_text_may_be_missing_but_not_where_it_is_all_there_is(keeper):
    clip = moving(5)
    silent, spoken = (keeper.extend(clip, text, seconds=0.5).frames[-4:] for text in ("", "a cat"))
    assert not np.array_equal(silent, spoken)
    for missing in (lambda: keeper.generate(" "), lambda: keeper.edit(clip, "", strength=0.5)):
        with pytest.raises(PromptError):
            missing()


def test_footage_is_fitted_and_a_note_says_so(keeper, tmp_path, caplog, monkeypatch):
    """Footage of another size, aspect and rate, longer than needed: only its end is read."""
    path = moving(45, height=48, width=128, fps=5.0).save(tmp_path / "long.mp4")
    monkeypatch.setattr("vitascope.generate.footage.MAX_SECONDS", 2.0)
    with caplog.at_level(logging.WARNING):
        timeline = plan(keeper, Extend(video=path, prompt="", seconds=1))
    assert (timeline.height, timeline.width, timeline.fps) == (24, 64, 8.0)
    assert timeline.num_frames == 2 * 8 + 8
    assert "128x48 at 5 frames a second; fitted to 64x24 at 8" in caplog.text
    assert "is long; using seconds 7 to 9" in caplog.text
    assert "the model was trained on about 48x32, up to 17 frames at 8 a second" in caplog.text


def test_a_hole_far_into_a_long_video_is_filled_in_its_surroundings(keeper, monkeypatch):
    monkeypatch.setattr("vitascope.generate.footage.MAX_SECONDS", 2.0)
    given = moving(34)
    video = keeper.fill(given, [(2.5, 3)], **QUICK)
    assert video.num_frames == 16
    kept = np.r_[0:8, 12:16]  # of frames 12 to 27: the hole is from frame 20 to 23
    assert lost(keeper, video.frames[kept], Video(given.frames[12:28][kept], 8.0)) < MOST_LOST
    assert psnr(video.frames[8:12], given.frames[20:24]) < 20


def test_what_fits_needs_no_note(keeper, caplog):
    plan(keeper, Extend(video=moving(9), prompt="", seconds=1))
    assert caplog.text == ""


def test_a_video_is_as_long_as_its_seconds(keeper):
    timeline = plan(keeper, Generate(prompt=PROMPT, seconds=1.5, fps=6))
    assert (timeline.num_frames, timeline.fps) == (9, 6)
    assert plan(keeper, Generate(prompt=PROMPT, seconds=0.01)).num_frames == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.generate(PROMPT, seconds=1, num_frames=5), "not both"),
        (lambda p: p.generate(PROMPT, seconds=0), "must be a positive number, got 0"),
        (lambda p: p.generate(PROMPT, seconds=1e308), "1000000000 frames"),
        (lambda p: p.extend(moving(5), seconds=0), "must be a positive number, got 0"),
        (lambda p: p.fill(moving(9), [(2, 3)]), "the frames run from 0 to 1 s"),
        (lambda p: p.fill(moving(9), [(0, 2)]), "all of the video is missing"),
        (lambda p: p.fill(moving(9), [(0, 0.5), (0.75, 2)]), "is left whole to condition the result"),
        (lambda p: p.fill(moving(9), []), "missing is empty"),
        (lambda p: p.edit(moving(9), "a cat", strength=0), r"strength must be in \(0, 1\], got 0"),
        (
            lambda p: p.edit(moving(9), "a cat", strength=1, mask=Video(np.zeros((1, 32, 48, 3), np.uint8), 1.0)),
            "black",
        ),
        (lambda p: p.generate(PROMPT, last_image=moving(1), num_frames=1), "needs at least 2"),
        (lambda p: p.generate(PROMPT, image=moving(1), last_image=moving(1), num_frames=5), "nothing to generate"),
    ],
)
def test_what_cannot_be_made_is_refused(keeper, call, message):
    with pytest.raises(SizeError, match=message):
        call(keeper)


def test_the_oracle_reproduces_the_clip(keeper):
    """Its joins therefore show the verb's own error: none forward, where the latents are one stream."""
    clip = moving(17)
    oracle = OraclePipeline(keeper, {PROMPT: clip})
    coded = reconstruct(keeper.codec, clip).frames.astype(int)
    forward = oracle.extend(Video(clip.frames[:9], 8.0), PROMPT, seconds=1)
    assert np.abs(forward.frames - coded).max() <= 1
    first, last = Video(clip.frames[:8], 8.0), Video(clip.frames[8:], 8.0)
    backward = oracle.extend(last, PROMPT, seconds=1, backward=True)
    assert np.array_equal(backward.frames[8:], reconstruct(keeper.codec, last).frames)
    assert lost(keeper, backward.frames[:8], first) < 1
    with pytest.raises(KeyError):
        oracle.extend(last, "a cat", seconds=1)
