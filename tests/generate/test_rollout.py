"""Windows over a timeline: each latent frame is generated once from known ones, and the stream has no seam."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vitascope.codec.streaming import Tiling, decode_video, to_frames
from vitascope.generate.guidance import ConditionedDenoiser
from vitascope.generate.pipeline import Pipeline
from vitascope.generate.planning import plan
from vitascope.generate.requests import Extend, Generate, Loop, Sampling
from vitascope.generate.rollout import Rollout, makes, plan_windows
from vitascope.model.text import TextEncoder
from vitascope.video import Video

PROMPT = "a red ball rolls"
FLAGS = {".": False, "#": True}


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (".....", [(0, 5)]),
        ("...", [(0, 3)]),
        ("#..", [(0, 3)]),
        ("........", [(0, 5), (3, 8)]),
        ("#........", [(0, 5), (3, 8), (4, 9)]),
        ("#####...", [(3, 8)]),
        ("######....", [(4, 9), (5, 10)]),
        ("...#####", [(0, 5)]),
        ("......#####", [(3, 8), (1, 6), (0, 5)]),  # from right to left; the first of a window can't stand
        ("####..####", [(2, 7)]),
        ("####...####", [(3, 8)]),
        ("####....####", [(2, 7), (5, 10)]),
        ("##.###.##", [(0, 5), (4, 9)]),
    ],
)
def test_windows(known, expected):
    windows = plan_windows([FLAGS[mark] for mark in known], 5)
    assert [(window.start, window.stop) for window in windows] == expected


@pytest.mark.parametrize("length", [3, 4, 5, 9])
def test_every_window_makes_something_and_begins_with_what_is_known(length):
    """For a hundred random timelines; one that begins inside has a known frame there, or one that is to be dropped."""
    draw = np.random.default_rng(length)
    for _ in range(100):
        known = (draw.random(draw.integers(1, 30)) < draw.choice([0.2, 0.8])).tolist()
        for window in plan_windows(known, length):
            made = [k for k in range(window.start, window.stop) if not known[k] and makes(window, k)]
            assert made
            assert window.stop - window.start == min(length, len(known))
            right_to_left = not any(known[: window.start + 1])
            assert window.start == 0 or right_to_left or all(known[: window.start + 1])
            for frame in made:
                known[frame] = True
        assert all(known)


def test_a_long_video_is_one_stream_of_latents(pipeline, monkeypatch):
    """The windows' joined latents, decoded at once, equal the frames decoded incrementally: the codec has no seam."""
    rollouts: list[Rollout] = []
    original = Rollout.put

    def put(rollout: Rollout, *arguments: object) -> None:
        rollouts.append(rollout)
        original(rollout, *arguments)

    monkeypatch.setattr(Rollout, "put", put)
    video = pipeline.generate(PROMPT, num_frames=30)
    assert len(rollouts) == 4  # nine frames a window, of which at first all and then eight are new
    size = {"height": 32, "width": 32, "num_frames": 30, "fps": 8.0}
    whole = decode_video(pipeline.codec, rollouts[-1].latent, **size)
    assert np.abs(whole.frames.astype(int) - video.frames.astype(int)).max() <= 1


def test_a_long_video_comes_as_it_is_made(pipeline):
    """The frames of a window are there before the next is begun, and progress counts the steps of all."""
    timeline = plan(pipeline, Generate(prompt=PROMPT, num_frames=30))
    events: list[object] = []
    stream = pipeline.stream(timeline, Sampling(num_steps=2), lambda *step: events.append(step))
    for frames in stream:
        events.append(len(frames))
    assert events[:5] == [(1, 8), (2, 8), 1, 8, (3, 8)]
    assert sum(event for event in events if isinstance(event, int)) == 30
    assert events[-2:] == [(8, 8), 5]


def test_a_prompt_is_encoded_once_for_all_windows(pipeline, monkeypatch):
    asked: list[str] = []
    original = TextEncoder.encode
    monkeypatch.setattr(TextEncoder, "encode", lambda self, prompts: asked.extend(prompts) or original(self, prompts))
    pipeline.generate(PROMPT, num_frames=21, negative="rain")
    assert asked == [PROMPT, "rain"]


def test_a_window_begins_with_a_picture_in_tiles(pipeline, monkeypatch):
    """A large picture is encoded as footage is; fails when the codec takes it whole."""
    monkeypatch.setattr(Tiling, "spans", lambda tiling, length: [(0, 4), (2, 6)])
    seen: list[tuple[int, ...]] = []
    original = pipeline.codec.encode
    monkeypatch.setattr(pipeline.codec, "encode", lambda x, *more: seen.append(x.shape[3:]) or original(x, *more))
    timeline = plan(pipeline, Generate(prompt=PROMPT, height=48, width=48, num_frames=17))
    rollout = Rollout(timeline, pipeline.grid, 3, 8.0)
    first, second = rollout.windows()
    rollout.put(first, rollout.latent[:, first.start : first.stop])
    list(rollout.decoded())
    rollout.canvas(second)
    assert set(seen) == {(32, 32)}


def test_the_beginning_of_a_long_video_is_the_short_one(pipeline):
    short, long = (pipeline.generate(PROMPT, num_frames=num, seed=4).frames for num in (9, 21))
    assert np.abs(short.astype(int) - long[:9].astype(int)).max() <= 1
    again = pipeline.generate(PROMPT, num_frames=21, seed=4).frames
    assert np.array_equal(long, again)


def test_each_window_is_pinned_to_the_end_of_what_exists(pipeline, monkeypatch):
    """Its first latent frame is the last picture, as an image; fails when windows begin from nothing."""
    canvases: list[Canvas] = []
    original = pipeline.sample

    def sample(canvas: Canvas, *arguments: object, **options: object) -> Tensor:
        canvases.append(canvas)
        return original(canvas, *arguments, **options)

    monkeypatch.setattr(pipeline, "sample", sample)
    video = pipeline.generate(PROMPT, num_frames=17)
    assert [int(canvas.given.reshape(3, -1).all(dim=1).sum()) for canvas in canvases] == [0, 1]
    picture = torch.from_numpy(video.frames[8:9].copy()).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    image = pipeline.codec.encode(picture)[0]
    second = canvases[1]
    torch.testing.assert_close(second.grid_latent(second.clean, (1, 2, 2))[:, :1], image, atol=0.02, rtol=0)


def test_further_windows_see_what_was_made_through_noise(pipeline, monkeypatch):
    """Fails when the noise is missing, its level isn't passed to the network, or it stays in the video."""
    levels: list[float] = []
    strays: list[Tensor] = []  # from what was made before, and from what was given
    others: list[Tensor] = []
    original = ConditionedDenoiser.__call__

    def denoise(denoiser: ConditionedDenoiser, x: Tensor, sigma: float) -> Tensor:
        canvas, stray = denoiser.canvas, x - denoiser.canvas.clean
        if canvas.generated_mask.any():
            levels.append(denoiser.pack.at(x, sigma).token_sigmas[canvas.generated_mask].unique().item())
            strays.append(stray[canvas.generated_mask])
        others.append(stray[canvas.given & ~canvas.generated_mask])
        return original(denoiser, x, sigma)

    monkeypatch.setattr(ConditionedDenoiser, "__call__", denoise)
    clean = pipeline.generate(PROMPT, num_frames=17, seed=4).frames
    assert set(levels) == {0.0}
    assert all((each == 0).all() for each in strays)
    monkeypatch.setattr(pipeline, "config", pipeline.config.model_copy(update={"history_noise": 0.25}))
    levels.clear(), strays.clear()
    noisy = pipeline.generate(PROMPT, num_frames=17, seed=4).frames
    assert set(levels) == {0.25}
    assert min(each.std() for each in strays) > 0.1
    assert np.array_equal(noisy[:9], clean[:9])
    assert not np.array_equal(noisy[9:], clean[9:])
    levels.clear(), others.clear()
    reference = Video(clean[:1], 1.0)
    pipeline.connect(Video(clean[:9], 8.0), Video(clean[:9], 8.0), PROMPT, seconds=2, seed=4)
    pipeline.generate(PROMPT, num_frames=17, references=[reference], seed=4)
    assert levels  # further windows saw what others had made, and what users gave as it is
    assert sum(len(each) for each in others) > 0
    assert all((each == 0).all() for each in others)


def test_memory_of_what_was_decoded_is_short(pipeline: Pipeline):
    timeline = plan(pipeline, Generate(prompt=PROMPT, num_frames=81))
    rollout = Rollout(timeline, pipeline.grid, 3, 8.0)
    rollout.known[:] = True
    assert sum(len(frames) for frames in rollout.decoded()) == 81
    assert len(rollout._last_frames) <= 4


@pytest.mark.parametrize("verb", ["backward", "loop"])
def test_frames_before_what_is_given_last_lead_to_it(pipeline: Pipeline, monkeypatch, verb: str):
    """The streams' difference at the first given frame is spread over the latent frame before it, no further."""
    draw = np.random.default_rng(3)
    clip = Video(draw.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8), 8.0)
    if verb == "backward":
        timeline = plan(pipeline, Extend(video=clip, prompt="", seconds=13 / 8, backward=True))
    else:
        timeline = plan(pipeline, Loop(video=clip, prompt="", seconds=1))
    tail = timeline.tail
    assert tail is not None
    seen: list[Tensor] = []
    original = Rollout._blended_into

    def leading_to(rollout: Rollout, tail: TailClip, pixels: Tensor) -> Tensor:
        seen[:] = [pixels, original(rollout, tail, pixels), rollout.latent]
        return seen[1]

    monkeypatch.setattr(Rollout, "_blended_into", leading_to)
    made = pipeline.make(timeline, Sampling(num_steps=1))
    plain, corrected, latent = seen
    with torch.inference_mode():
        in_stream = pipeline.codec.decode(latent[None, :, : tail.start + 1])
        own = pipeline.codec.decode(tail.latent[None, :, :1])
    first = pipeline.grid.first_frame(tail.start)
    difference = (own - in_stream[:, :, first : first + 1])[:, :, 0]
    assert difference.abs().max() > 0.1
    for k, share in enumerate((0.2, 0.4, 0.6, 0.8)):
        assert torch.allclose(corrected[:, :, k - 4], plain[:, :, k - 4] + share * difference, atol=1e-4)
    assert corrected.shape[2] > 4
    assert torch.equal(corrected[:, :, :-4], plain[:, :, :-4])
    last = to_frames(corrected[0, :, -1:])[0]
    where = first - len(timeline.hidden_frames) - 1
    assert np.array_equal(made.frames[where], last)
