"""The judge's network: what may depend on what, and that anything that can be seen can be read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vitascope.errors import ModelError
from vitascope.hub.weights import save_network
from vitascope.judge.mirror import mirrored_words
from vitascope.judge.network import Judge, JudgeConfig, input_size, preprocess, shots_of, to_signal
from vitascope.judge.sentence import VALUES, Slot, next_slot, slots, write
from vitascope.judge.vocabulary import collect
from vitascope.video import Video

CONFIG = JudgeConfig(
    tokens=collect(["a red ball rolls", "一个红球滚动"]),
    short_side=16,
    stem_width=4,
    width=24,
    num_heads=2,
    encoder_layers=1,
    decoder_layers=2,
    max_words=64,
)


@pytest.fixture
def judge() -> Judge:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Judge(CONFIG).eval().requires_grad_(False)


def noise(num_frames: int, height: int, width: int, seed: int = 0, fps: float = 8.0) -> Video:
    frames = np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)
    return Video(frames, fps)


def test_a_later_word_changes_no_earlier_prediction(judge: Judge) -> None:
    """Fails without the causal mask, and when the words' order doesn't count at all."""
    pixels, seconds = torch.randn(1, 3, 4, 16, 16), torch.arange(4.0)[None]
    words = torch.tensor([[2, 9, 30, 41, 57, 8]])
    changed = words.clone()
    changed[0, 3] = 77
    before, after = judge(pixels, seconds, words), judge(pixels, seconds, changed)
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert (after[:, 4:] - before[:, 4:]).abs().max() > 1e-4


def test_a_clip_does_not_depend_on_its_batch(judge: Judge) -> None:
    pixels, seconds = torch.randn(3, 3, 5, 16, 40), torch.arange(5.0).repeat(3, 1) * torch.tensor([[1.0], [2.0], [3.0]])
    words = torch.randint(len(judge.vocabulary), (3, 7))
    together = judge(pixels, seconds, words)
    for k in range(3):
        alone = judge(pixels[k : k + 1], seconds[k : k + 1], words[k : k + 1])
        torch.testing.assert_close(alone[0], together[k], atol=1e-5, rtol=1e-4)


def test_what_is_predicted_depends_on_pixels_place_and_time(judge: Judge) -> None:
    """Fails without positions: a mirrored, turned round or slower video would be the same one."""
    pixels, seconds = torch.randn(1, 3, 4, 16, 24), torch.arange(4.0)[None]
    before = judge.encoder(pixels, seconds).mean(dim=1)
    for other in (
        judge.encoder(pixels.flip(2), seconds),
        judge.encoder(torch.roll(pixels, 8, dims=3), seconds),
        judge.encoder(torch.roll(pixels, 8, dims=4), seconds),
        judge.encoder(pixels, seconds * 2),
    ):
        assert (other.mean(dim=1) - before).abs().max() > 1e-4


def test_the_stem_sees_each_frame_and_its_changes(judge: Judge) -> None:
    """Fails when a change is over another number of frames, against one still to come, or of the other sign."""
    seen = []
    judge.encoder.stem[0].register_forward_hook(lambda _layer, inputs, _output: seen.append(inputs[0]))
    brightness = torch.tensor([0.0, 1.0, 4.0, 9.0, 16.0, 25.0]) / 25
    judge.encoder(brightness.view(1, 1, 6, 1, 1).expand(1, 3, 6, 16, 16), torch.arange(6.0)[None] / 8)
    own, last, earlier = (25 * seen[0][:, channel, 0, 0] for channel in (0, 3, 6))
    torch.testing.assert_close(own, torch.tensor([0.0, 1.0, 4.0, 9.0, 16.0, 25.0]))
    torch.testing.assert_close(last, torch.tensor([0.0, 1.0, 3.0, 5.0, 7.0, 9.0]))
    torch.testing.assert_close(earlier, torch.tensor([0.0, 1.0, 4.0, 9.0, 16.0, 24.0]))  # over four, or from the first
    assert seen[0].shape == (6, 9, 16, 16)


def test_times_are_seconds_whatever_the_rate() -> None:
    frames, seconds = preprocess(noise(49, 32, 48, fps=24.0), JudgeConfig())
    assert frames.shape == (17, 64, 96, 3)
    np.testing.assert_allclose(seconds, np.arange(17) * 0.125)
    picture, second = preprocess(noise(1, 32, 32), JudgeConfig())
    assert (picture.shape, second.tolist()) == ((1, 64, 64, 3), [0.0])
    assert to_signal(np.array([[[[[0, 255, 51]]]]], dtype=np.uint8)).flatten().tolist() == pytest.approx([-1, 1, -0.6])


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(64, 64, (64, 64)), (48, 80, (64, 104)), (720, 1280, (64, 112)), (640, 16, (256, 64)), (17, 17, (64, 64))],
)
def test_the_short_side_is_always_the_same(height: int, width: int, expected: tuple[int, int]) -> None:
    assert input_size(height, width, 64) == expected


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 40, 30), (30, 16, 90)])
def test_any_video_is_read_and_captioned(judge: Judge, shape: tuple[int, int, int]) -> None:
    """Even untrained, every word is one that may stand in its slot."""
    reading = judge.read(noise(*shape))
    assert next_slot(reading.sentence) is None
    assert all(value in VALUES[slot.attribute] for slot, value in reading.sentence.items())
    assert reading.confidence.keys() == reading.sentence.keys()
    assert all(0 < sure <= 1 for sure in reading.confidence.values())
    assert len(reading.attributes["shots"]) == int(next(v for s, v in reading.sentence.items() if s[0] == "shots"))
    for language in ("en", "zh"):
        caption = judge.caption(noise(*shape), language)
        assert not {"<", ">", "_"} & set(caption)


def test_what_happens_in_a_shot_is_read_of_it_alone(judge: Judge, monkeypatch) -> None:
    """Fails when a shot is read amid the others, with another one's frames, or without the cast of the whole."""
    frames = np.concatenate([noise(1, 16, 16, seed).frames.repeat(length, 0) for seed, length in ((1, 5), (2, 8))])
    video = Video(frames, 8.0)
    two = judge.vocabulary.ids["shots:2"]
    monkeypatch.setitem(judge.vocabulary.choices, "shots", [two])
    seen: list[int] = []
    encode = Judge.encode
    monkeypatch.setattr(Judge, "encode", lambda self, part: seen.append(part.num_frames) or encode(self, part))
    reading = judge.read(video)
    assert seen == [13, 5, 8]
    order = slots(2, int(reading.sentence[Slot("groups")]))
    assert tuple(reading.sentence) == tuple(reading.confidence) == order
    cast = {slot: value for slot, value in reading.sentence.items() if slot.shot is None}
    for number, part in enumerate(shots_of(video, 2)):
        begun = {**cast, Slot("shots"): "1"}
        words = [judge.vocabulary.mark("attributes"), *(judge.vocabulary.ids[token] for token in write(begun))]
        logits = judge.attribute_logits(torch.tensor(words), encode(judge, part))[-1]
        setting = max(judge.vocabulary.choices["setting"], key=lambda word: float(logits[word]))
        assert judge.vocabulary.tokens[setting] == f"setting:{reading.sentence[Slot('setting', None, number)]}"
        sure = logits[judge.vocabulary.choices["setting"]].softmax(0).max().item()
        assert reading.confidence[Slot("setting", None, number)] == pytest.approx(sure, abs=1e-5)


def test_a_video_with_too_few_frames_for_its_shots_is_read_whole(judge: Judge, monkeypatch) -> None:
    monkeypatch.setitem(judge.vocabulary.choices, "shots", [judge.vocabulary.ids["shots:3"]])
    reading = judge.read(noise(2, 16, 16))
    assert reading.sentence[Slot("shots")] == "3"
    assert next_slot(reading.sentence) is None


def test_temperature_changes_confidence_and_not_what_is_read(judge: Judge) -> None:
    cool = Judge(CONFIG.model_copy(update={"temperature": 0.2})).eval()
    cool.load_state_dict(judge.state_dict())
    video = noise(4, 16, 16)
    assert cool.read(video).sentence == judge.read(video).sentence
    assert sum(cool.read(video).confidence.values()) > sum(judge.read(video).confidence.values()) + 1


def test_a_saved_judge_reads_the_same(judge: Judge, tmp_path) -> None:
    save_network(judge, judge.config, tmp_path / "judge")
    loaded = Judge.load(tmp_path / "judge")
    assert loaded.config == judge.config
    assert loaded.read(noise(4, 16, 16)).sentence == judge.read(noise(4, 16, 16)).sentence
    with pytest.raises(ModelError):
        Judge.load(tmp_path)


def test_the_bundled_shape_fits_into_fifteen_megabytes() -> None:
    """In half precision, as it is saved; fails too when most of its layers are lost."""
    config = JudgeConfig(tokens=(*CONFIG.tokens, *(f"w{k}" for k in range(400))))
    num_parameters = sum(p.numel() for p in Judge(config).parameters())
    assert 4e6 < num_parameters < 7e6


def test_a_judge_of_other_words_than_the_worlds_is_refused(judge: Judge, tmp_path) -> None:
    tokens = tuple(token for token in CONFIG.tokens if token not in ("kind:cat", "camera:rise"))
    save_network(judge, CONFIG.model_copy(update={"tokens": tokens}), tmp_path / "old")
    with pytest.raises(ModelError, match=r"lacks 2 of the world's words \(kind:cat is one\): train it again"):
        Judge.load(tmp_path / "old")


def test_the_trunk_is_the_mean_of_a_videos_tokens(judge: Judge) -> None:
    video = noise(4, 16, 16)
    frames, seconds = preprocess(video, judge.config)
    tokens = judge.encoder(to_signal(frames[None]), torch.from_numpy(seconds)[None])[0]
    torch.testing.assert_close(judge.trunk(video), tokens.mean(dim=0))
    assert judge.trunk(video).shape == (24,)


def test_a_mirrored_video_is_read_as_the_mirrored_words(judge: Judge) -> None:
    """Fails when one of the two looks is left out, or read as the words of the other: confidence differs then."""
    video = noise(9, 16, 24)
    mirrored = Video(np.ascontiguousarray(video.frames[:, :, ::-1]), video.fps)
    reading, other = judge.read(video), judge.read(mirrored)
    assert {slot: mirrored_words(word) for slot, word in reading.sentence.items()} == other.sentence
    for slot, sure in reading.confidence.items():
        assert other.confidence[slot] == pytest.approx(sure, abs=1e-5)


def test_words_of_sides_change_places_in_the_mirror(judge: Judge) -> None:
    tokens, mirrored = judge.vocabulary.tokens, judge.vocabulary.mirrored
    changed = {token: tokens[number] for token, number in zip(tokens, mirrored, strict=True) if tokens[number] != token}
    pairs = [("motion:left", "motion:right"), ("camera:pan_left", "camera:pan_right")]
    assert changed == dict([*pairs, *(pair[::-1] for pair in pairs)])
