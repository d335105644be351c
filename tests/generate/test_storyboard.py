"""Storyboards: texts and cuts where they were asked for, by windows as well, and files that make no sense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vitascope.codec.streaming import reconstruct
from vitascope.errors import ConfigError, PromptError, SizeError
from vitascope.generate.footage import fit_image, freeze_frame
from vitascope.generate.pipeline import EncodedPrompt, Pipeline
from vitascope.generate.planning import plan
from vitascope.generate.requests import Generate, Sampling, Storyboard, StoryboardShot, load_storyboard
from vitascope.generate.rollout import Rollout, Window
from vitascope.model.canvas import CUT_GAP, Canvas, Pin, Shot, given_frames, make_canvas
from vitascope.model.text import shot_prompt
from vitascope.video import Video

SHOTS = [("a red ball rolls", 1.0, True), ("it jumps", 1.0, True), ("it spins", 1.5, False)]
LATENT = torch.zeros(4, 5, 4, 4)


def storyboard(*shots: tuple[str, float, bool], text: str = "") -> Storyboard:
    made = tuple(StoryboardShot(text=said, seconds=seconds, cut=cut) for said, seconds, cut in shots)
    return Storyboard(text=text, shots=made)


def canvas(shots: list[Shot], pins: list[Pin] | None = None) -> Canvas:
    nothing = given_frames(LATENT, [])
    place = {"fps": 8.0, "reference_fps": 8.0, "patch": (1, 2, 2), "time_stride": 4}
    return make_canvas(LATENT, nothing, pins or [], shots=shots, **place)


def test_time_skips_at_a_cut_and_goes_on_without_one():
    made = canvas([Shot(), Shot(1, is_cut=True), Shot(3), Shot(4, is_cut=True)], [Pin(LATENT[:, :1], -40)])
    times = [0, 1 + CUT_GAP, 2 + CUT_GAP, 3 + CUT_GAP, 4 + 2 * CUT_GAP, -10]
    assert made.positions[::4, 0].tolist() == times


def test_every_token_has_the_text_of_its_shot_and_pins_have_the_firsts():
    made = canvas([Shot(), Shot(2)], [Pin(LATENT[:, :1], -40)])
    texts = [torch.full((length, 3), float(length)) for length in (5, 2)]
    sample = made.noised(made.clean, torch.full((6,), 0.5), texts)
    assert sample.text_runs == ((8, 5), (12, 2), (4, 5))
    assert sample.context[:, 0].tolist() == [5.0] * 5 + [2.0] * 2 + [5.0] * 5
    alone = canvas([Shot()], [Pin(LATENT[:, :1], -40)])
    assert alone.noised(alone.clean, torch.full((6,), 0.5), texts[:1]).text_runs == ((24, 5),)


def test_the_text_of_a_shot_reaches_its_own_frames(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    """Directly: self-attention, which carries it on, is silenced. Fails when all frames get one text."""
    for block in pipeline.transformer._blocks:
        monkeypatch.setattr(block.self_attention, "forward", lambda q, *rest: torch.zeros_like(q.flatten(1)))
    made = canvas([Shot(), Shot(2, is_cut=True)])
    first, other = (pipeline.sample(made, ["a red ball", text], num_steps=2) for text in ("a blue cube", "一只猫"))
    difference = (first - other).abs().amax(dim=1)
    assert difference[:8].max() < 1e-5
    assert difference[8:].min() > 1e-4


def test_shots_begin_with_the_latent_frame_nearest_to_their_time(pipeline: Pipeline, caplog: pytest.LogCaptureFixture):
    """Latent frames begin with frames 0, 1, 5, 9, 13, ...: 1 s is frame 8 and 2 s frame 16."""
    timeline = plan(pipeline, storyboard(*SHOTS, text="At night."))
    assert timeline.shots == (Shot(0), Shot(3, is_cut=True), Shot(5, is_cut=False))
    assert timeline.num_frames == 28
    assert timeline.latent.shape[1] == 8
    assert timeline.prompts == ("At night. a red ball rolls", "At night. it jumps", "At night. it spins")
    assert "shot 2 begins at 1.12 s, after a cut; shot 3 begins at 2.12 s, without a cut" in caplog.text


@pytest.mark.parametrize(
    ("common", "text", "joined"),
    [
        ("", " a cat ", "a cat"),
        ("a red cat, at night", "it jumps", "a red cat, at night. it jumps"),
        ("A red cat!", "It jumps.", "A red cat! It jumps."),
        ("一只红色的猫", "它在跳", "一只红色的猫。它在跳"),
        ("一只红色的猫。", "它在跳", "一只红色的猫。它在跳"),
    ],
)
def test_what_holds_for_all_comes_before_what_a_shot_shows(common, text, joined):
    assert shot_prompt(common, text) == joined


def test_a_storyboard_of_one_text_without_cuts_is_that_video(pipeline: Pipeline):
    """By windows, too: 21 frames take several. Fails when windows, texts or positions are laid out otherwise."""
    text = "a red ball rolls"
    told = pipeline.storyboard(storyboard((text, 1.0, True), (text, 1.625, False)), seed=3, num_steps=1)
    plain = pipeline.generate(text, num_frames=21, seed=3, num_steps=1)
    assert told.frames.shape == plain.frames.shape
    assert np.abs(told.frames.astype(int) - plain.frames.astype(int)).max() <= 1
    cut = pipeline.storyboard(storyboard((text, 1.0, True), (text, 1.625, True)), seed=3, num_steps=1)
    assert np.abs(cut.frames.astype(int) - plain.frames.astype(int)).max() > 1


def test_windows_show_the_shots_that_lie_in_them(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    """Each latent frame gets its own text, and each cut is at its position, in every window."""
    asked: list[tuple[Canvas, list[Tensor]]] = []
    original = pipeline.sample

    def sample(filling: Canvas, prompt: list[EncodedPrompt], **options: object) -> Tensor:
        asked.append((filling, [text.context for text in prompt]))
        return original(filling, prompt, **options)

    windows: list[Window] = []
    monkeypatch.setattr(pipeline, "sample", sample)
    monkeypatch.setattr(Rollout, "put", lambda self, window, made: windows.append(window) or put(self, window, made))
    pipeline.storyboard(storyboard(*SHOTS), num_steps=1)
    contexts = [pipeline.encode_prompt(text).context for text, *_ in SHOTS]
    texts = [*[contexts[0]] * 3, *[contexts[1]] * 2, *[contexts[2]] * 3]
    assert len(windows) == len(asked) > 2
    for window, (filling, prompts) in zip(windows, asked, strict=True):
        told = [
            prompt for prompt, count in zip(prompts, filling.tokens_per_shot, strict=True) for _ in range(count // 4)
        ]
        wanted = texts[window.start : window.stop]
        assert len(told) == len(wanted)
        assert all(map(torch.equal, told, wanted))
        times = filling.positions[::4, 0]
        skips = [window.start + 1 + k for k, gap in enumerate(times.diff().tolist()) if gap > 1]
        assert skips == [frame for frame in (3,) if window.start < frame < window.stop]


put = Rollout.put


def test_images_begin_their_shots(pipeline: Pipeline, picture: Video, tmp_path: Path):
    """To the codec's own ceiling: the first alone, the second for a whole latent frame. Fails when it isn't given."""
    path = picture.save(tmp_path / "picture.png")
    shots = (
        StoryboardShot(text="a ball", seconds=0.7, image=path),
        StoryboardShot(text="a cube", seconds=1, image=path),
    )
    video = pipeline.storyboard(Storyboard(shots=shots), num_steps=1)
    image = fit_image(picture, 32, 32)
    assert np.array_equal(video.frames[0], reconstruct(pipeline.codec, image).frames[0])
    timeline = plan(pipeline, Storyboard(shots=shots))
    assert timeline.given.flatten(1).all(dim=1).tolist() == [True, False, True, False, False]
    expected = pipeline.grid.encode_after(freeze_frame(image, 4))
    torch.testing.assert_close(timeline.latent[:, 2:3], expected)


def test_a_shot_shorter_than_a_latent_frame_is_refused(pipeline: Pipeline):
    for seconds in ((1.0, 0.2, 1.0), (1.0, 1.0, 0.1)):
        shots = storyboard(*((text, duration, True) for (text, *_), duration in zip(SHOTS, seconds, strict=True)))
        with pytest.raises(SizeError, match=r"of 0\.[12] seconds is too short.* at least 0\.5 seconds"):
            plan(pipeline, shots)


def test_a_text_that_is_too_long_is_told_before_the_first_window(pipeline: Pipeline):
    shots = storyboard(("a ball", 3, True), ("word " * 3000, 3, True))
    timeline = plan(pipeline, shots)
    with pytest.raises(PromptError, match="tokens"):
        next(pipeline.stream(timeline))


GOOD = """
text = "一只红色的猫"
[[shots]]
text = "它在草地上走"
seconds = 2
image = "猫.png"
[[shots]]
text = "它在跳"
seconds = 1.5
cut = false
"""


def test_a_file_says_all_of_it_and_images_lie_beside_it(tmp_path: Path):
    (tmp_path / "猫.png").touch()
    path = tmp_path / "story.toml"
    path.write_text(GOOD, encoding="utf-8")
    found = load_storyboard(path)
    assert found.text == "一只红色的猫"
    assert [(shot.text, shot.seconds, shot.cut) for shot in found.shots] == [
        ("它在草地上走", 2, True),
        ("它在跳", 1.5, False),
    ]
    assert list(found.footage()) == [tmp_path / "猫.png"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[[shots]]", "[[shots", "not a readable TOML file"),
        ('text = "一只红色的猫"', 'texts = "一只红色的猫"', "texts: Extra inputs"),
        ("cut = false", "cuts = false", "shots.1.cuts: Extra inputs"),
        ("cut = false", 'cut = "perhaps"', "shots.1.cut: Input should be a valid boolean"),
        ("cut = false", 'cut = false\nimage = "猫.png"', "shots.1: a shot without a cut can't begin with an image"),
        ("seconds = 2", "seconds = -2", "shots.0.seconds: Input should be greater than 0"),
        ("seconds = 2", "seconds = nan", "shots.0.seconds: Input should be"),
        ("seconds = 2", "seconds = 1e300", "shots.0.seconds: Input should be less than or equal to 18000"),
        ("seconds = 2", "", "shots.0.seconds: is missing"),
        ('"它在跳"', '" "', "shots.1.text: is empty; describe the shot"),
        ('"它在跳"', '["它在跳"]', "shots.1.text: Input should be a valid string"),
        ('text = "它在跳"', "", "shots.1.text: is missing"),
        ("猫.png", "dog.png", "shots.0.image: no file"),
        ('image = "猫.png"', "cut = false", "shots.0 has no shot before it"),
        ("[[shots]]", "[[scenes]]", "shots: is missing"),
    ],
)
def test_each_kind_of_mistake_is_one_line_with_file_key_and_reason(tmp_path: Path, old: str, new: str, said: str):
    (tmp_path / "猫.png").touch()
    path = tmp_path / "story.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_storyboard(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_and_no_shots(tmp_path: Path):
    with pytest.raises(ConfigError, match="no config file"):
        load_storyboard(tmp_path / "none.toml")
    (tmp_path / "story.toml").write_text("shots = []")
    with pytest.raises(ConfigError, match="shots: Tuple should have at least 1 item"):
        load_storyboard(tmp_path / "story.toml")


def test_a_long_storyboard_comes_as_it_is_made(pipeline: Pipeline):
    timeline = plan(pipeline, storyboard(*SHOTS))
    events: list[object] = []
    for frames in pipeline.stream(timeline, Sampling(num_steps=1), lambda *step: events.append(step)):
        events.append(len(frames))
    assert events[:4] == [(1, 4), 1, 8, (2, 4)]
    assert sum(event for event in events if isinstance(event, int)) == 28


def test_a_minute_of_shots_is_made_in_flat_memory(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    """Twelve shots in sixty windows: each window gets only its own shots, and memory stays constant.

    Fails when decoded frames accumulate, when a window is generated before earlier frames are written, or gets all
    shots.
    """
    kept: list[tuple[int, int, int]] = []
    written = 0

    def seen(self: Rollout, window: Window, made: Tensor) -> None:
        kept.append(
            (len(self._last_frames), len(self.prompts(window)), written - pipeline.grid.first_frame(window.start))
        )
        put(self, window, made)

    monkeypatch.setattr(Rollout, "put", seen)
    monkeypatch.setattr(pipeline, "sample", lambda canvas, prompts, **options: canvas.clean)
    shots = [(f"a red ball rolls past tree {number}", 5.0, number % 3 != 1) for number in range(12)]
    timeline = plan(pipeline, storyboard(*shots, text="on the grass"))
    for frames in pipeline.stream(timeline, Sampling(num_steps=1)):
        written += len(frames)
    assert written == 480
    assert len(kept) == 60
    assert max(pictures for pictures, _, _ in kept) <= 4
    assert {texts for _, texts, _ in kept} == {1, 2}
    assert {ahead for _, _, ahead in kept[1:]} == {4}  # all frames of the one latent frame that the window begins with


def test_one_shot_is_a_plain_video(pipeline: Pipeline):
    one = plan(pipeline, storyboard(("a ball", 1.0, True)))
    plain = plan(pipeline, Generate(prompt="a ball", num_frames=8))
    assert (one.prompts, one.shots, one.num_frames) == (plain.prompts, plain.shots, plain.num_frames)
