"""Dataset folders: their clips, and encodings that are computed once and cached."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from vitascope.codec.network import Codec, CodecConfig
from vitascope.codec.streaming import encode_video
from vitascope.data.caches import ClipEncoder, cached_latents, cached_text_states
from vitascope.data.clips import Clip, Reader, list_clips, split_validation
from vitascope.errors import DatasetError
from vitascope.model.text import TextEncoder
from vitascope.train.run import read_dataset
from vitascope.video import Video, write_video

TEXT_ENCODER = Path(__file__).parents[2] / "vitascope" / "models" / "playground" / "text_encoder"
CAPTIONS = {"zh": ["红", "红色的球"], "en": ["red", "a red ball", "a ball that is red"]}


def write_clip(folder: Path, number: int, num_frames: int, **changes: object) -> None:
    media = folder / "clips" / f"{number:06d}{'.png' if num_frames == 1 else '.mp4'}"
    media.parent.mkdir(exist_ok=True)
    write_video(Video(np.full((num_frames, 16, 24, 3), 40 * number, np.uint8), 8.0), media)
    record = {"id": media.stem, "num_frames": num_frames, "height": 16, "width": 24, "fps": 8.0, "captions": CAPTIONS}
    media.with_suffix(".json").write_text(json.dumps({**record, **changes}, ensure_ascii=False), encoding="utf-8")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """An image and two clips."""
    for number, num_frames in enumerate((5, 1, 9)):
        write_clip(tmp_path, number, num_frames)
    return tmp_path


def test_clips_come_by_id_with_what_their_records_say(dataset):
    clips = list_clips(dataset)
    assert [(clip.id, clip.num_frames, clip.path.suffix) for clip in clips] == [
        ("000000", 5, ".mp4"),
        ("000001", 1, ".png"),
        ("000002", 9, ".mp4"),
    ]
    assert [clip.read().frames.shape for clip in clips] == [(5, 16, 24, 3), (1, 16, 24, 3), (9, 16, 24, 3)]


def test_a_clip_without_a_record_is_not_there_yet(dataset):
    (dataset / "clips" / "000001.json").unlink()
    assert [clip.id for clip in list_clips(dataset)] == ["000000", "000002"]


@pytest.mark.parametrize("text", ["", "[]", '{"id": "000000"}', "nonsense"])
def test_a_record_that_cannot_be_read_is_named(dataset, text):
    (dataset / "clips" / "000001.json").write_text(text)
    with pytest.raises(DatasetError, match=r"000001\.json"):
        list_clips(dataset)


def test_a_folder_without_clips_is_refused_with_the_cure(tmp_path):
    with pytest.raises(DatasetError, match="vitascope render"):
        list_clips(tmp_path / "nowhere")


def test_the_last_clips_are_kept_for_validation(dataset):
    training, validation = split_validation(list_clips(dataset), 1)
    assert [[clip.id for clip in part] for part in (training, validation)] == [["000000", "000001"], ["000002"]]
    with pytest.raises(DatasetError, match="too few"):
        split_validation(list_clips(dataset), 3)


def of_sources(sources: str) -> list[Clip]:
    """Clips of the sources that the letters name; "." is a clip without a source."""
    names = ["" if letter == "." else letter for letter in sources]
    return [Clip(f"{k:04d}", Path("x"), 5, 16, 16, 8.0, {}, source=name) for k, name in enumerate(names)]


@pytest.mark.parametrize(
    ("sources", "num", "expected"),
    [
        ("aabbcc", 1, "c"),
        ("aabbcc", 2, "cc"),
        ("aabbcc", 3, "bbc"),
        ("abcabcabc", 3, "ccc"),
        ("aaaabbbbbc", 1, "c"),
        ("cabbbbbbbb", 2, "ca"),
        ("aab......", 3, "..."),
        ("aabbbbbbbbb", 1, "a"),
    ],
)
def test_no_source_is_on_both_sides_of_the_validation_split(sources, num, expected):
    """Before, the last clips were split off, so that clips of one video were trained on and validated."""
    clips = of_sources(sources)
    training, validation = split_validation(clips, num)
    assert len(validation) == num
    assert sorted(clip.source or "." for clip in validation) == sorted(expected)
    assert not {clip.origin for clip in training} & {clip.origin for clip in validation}
    assert split_validation(clips, num) == (training, validation)


def test_a_single_source_cannot_be_split(capsys):
    with pytest.raises(DatasetError, match=r"8 clips of 1 sources.*add footage"):
        split_validation(of_sources("aaaaaaaa"), 2)


def test_clips_of_one_scene_have_one_source(dataset):
    write_clip(dataset, 0, 5, seed=7)
    write_clip(dataset, 2, 9, seed=7)
    clips = list_clips(dataset)
    assert [clip.origin for clip in clips] == ["scene 7", "000001", "scene 7"]
    assert [clip.record().get("source") for clip in clips] == ["scene 7", None, "scene 7"]  # as shards keep it


BAD_CAPTIONS = {
    "empty": ("empty caption", ["", " \n", "\u200b"]),
    "control": ("caption with a control character", ["a\0b", "\x1b[31m", "\x7f"]),
    "long": ("caption of more than 32,000 characters", ["x" * 32_001]),
}


@pytest.mark.parametrize("kind", BAD_CAPTIONS)
def test_captions_of_other_programs_are_checked_as_prompts_and_counted(dataset, capsys, kind):
    reason, texts = BAD_CAPTIONS[kind]
    write_clip(dataset, 0, 5, captions={"en": [*texts, "a ball"], "zh": texts})
    clips, _ = read_dataset(str(dataset), 1)
    assert clips[0].captions == {"en": ["a ball"]}
    assert f"left out {2 * len(texts)} x {reason}" in capsys.readouterr().err


def test_a_lone_surrogate_in_a_record_is_one_line(dataset):
    write_clip(dataset, 0, 5)
    path = dataset / "clips" / "000000.json"
    path.write_text(path.read_text("utf-8").replace("a red ball", "\\ud83d"), encoding="utf-8")
    with pytest.raises(DatasetError, match=r"000000\.json is not a clip record"):
        list_clips(dataset)


def test_a_storyboard_with_a_bad_text_is_left_out(dataset):
    boards = {"en": [{"text": "", "shots": ["a", "b\0"]}, {"text": "a", "shots": ["b", "c"]}]}
    write_clip(dataset, 2, 9, cuts=[4], storyboards=boards)
    problems = Counter[str]()
    assert list_clips(dataset, problems=problems)[2].storyboards["en"][0].shots == ["b", "c"]
    assert problems == {"caption with a control character": 1}


def test_captions_are_taken_evenly_from_each_language(dataset):
    assert list_clips(dataset)[0].some_captions(2) == ["red", "a red ball", "红", "红色的球"]


@pytest.fixture(scope="module")
def codec() -> Codec:
    """A codec of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Codec(CodecConfig(latent_channels=4, base_width=8))


def test_latents_are_the_codecs_and_are_encoded_once(dataset, codec, monkeypatch):
    clips, folder, progress = list_clips(dataset), dataset / "latents", []
    latents = cached_latents(codec, clips, folder, Reader(3, 0.0), lambda *step: progress.append(step))
    assert progress == [(1, 3), (2, 3), (3, 3)]
    for latent, clip in zip(latents, clips, strict=True):
        assert latent.dtype == torch.float16
        torch.testing.assert_close(latent, encode_video(codec, clip.read()).half())
    monkeypatch.setattr(Clip, "read", lambda self: pytest.fail("read again"))
    again = cached_latents(codec, clips, folder, Reader(3, 0.0))
    assert all(torch.equal(a, b) for a, b in zip(latents, again, strict=True))


@pytest.mark.parametrize("damage", [b"", b"\x10", b"not a shard of latents"])
def test_a_damaged_shard_is_made_again(dataset, codec, damage):
    clips, folder = list_clips(dataset), dataset / "latents"
    before = cached_latents(codec, clips, folder, Reader(3, 0.0))
    (shard,) = folder.iterdir()
    shard.write_bytes(damage)
    after = cached_latents(codec, clips, folder, Reader(3, 0.0))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_latents_follow_changed_media(dataset, codec):
    """Before, latents were found by the clip's id alone."""
    folder, before = (
        dataset / "latents",
        cached_latents(codec, list_clips(dataset), dataset / "latents", Reader(3, 0.0)),
    )
    write_video(Video(np.full((5, 16, 24, 3), 200, np.uint8), 8.0), dataset / "clips" / "000000.mp4")
    after = cached_latents(codec, list_clips(dataset), folder, Reader(3, 0.0))
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [False, True, True]
    torch.testing.assert_close(after[0], encode_video(codec, list_clips(dataset)[0].read()).half())


def test_clips_without_captions_are_encoded_without_texts(dataset, codec):
    for number, num_frames in enumerate((5, 1, 9)):
        write_clip(dataset, number, num_frames, captions={})
    encoder = TextEncoder.load(TEXT_ENCODER)
    encoded = ClipEncoder(codec, dataset / "l", encoder, dataset / "t", 1).encode(
        list_clips(dataset), Reader(3, 0.0), "x"
    )
    assert [clip.captions for clip in encoded] == [[], [], []]


def test_texts_of_too_many_tokens_are_left_out_and_counted(dataset, codec, capsys):
    """Before, one long caption ended the training run. The second encoding reads the cache."""
    long = "ball " * 2000
    write_clip(dataset, 0, 5, captions={"en": ["a ball", long]})
    write_clip(dataset, 1, 1, captions={"en": [long]})
    board = {"en": [{"text": "", "shots": ["a", long]}, {"text": "", "shots": ["a", "b"]}]}
    write_clip(dataset, 2, 9, captions={"en": ["a"]}, cuts=[4], storyboards=board)
    encoder = TextEncoder.load(TEXT_ENCODER)
    for _ in range(2):
        folders = dataset / "l", dataset / "t"
        encoded = ClipEncoder(codec, folders[0], encoder, folders[1], 2).encode(
            list_clips(dataset), Reader(3, 0.0), "x"
        )
        assert [len(clip.captions) for clip in encoded] == [1, 0, 1]
        assert [len(clip.storyboards) for clip in encoded] == [0, 0, 1]
        assert "left out 3 x text of too many tokens" in capsys.readouterr().err


def test_clips_that_were_added_are_encoded(dataset, codec):
    cached_latents(codec, list_clips(dataset)[:2], dataset / "latents", Reader(3, 0.0))
    assert len(cached_latents(codec, list_clips(dataset), dataset / "latents", Reader(3, 0.0))) == 3


def test_captions_are_encoded_once_and_again_when_they_change(dataset, monkeypatch):
    encoder, folder = TextEncoder.load(TEXT_ENCODER), dataset / "text"
    asked: list[list[str]] = []
    original = TextEncoder.encode
    monkeypatch.setattr(TextEncoder, "encode", lambda self, texts: asked.append(list(texts)) or original(self, texts))
    states = cached_text_states(encoder, [clip.some_captions(1) for clip in list_clips(dataset)], folder)
    assert asked == [["红", "red"]]  # each distinct caption once
    assert [len(of_clip) for of_clip in states] == [2, 2, 2]
    torch.testing.assert_close(states[2][0], original(encoder, ["red"])[0].half(), rtol=1e-2, atol=1e-2)
    again = cached_text_states(encoder, [clip.some_captions(1) for clip in list_clips(dataset)], folder)
    assert len(asked) == 1
    assert all(torch.equal(a, b) for x, y in zip(states, again, strict=True) for a, b in zip(x, y, strict=True))
    write_clip(dataset, 1, 1, captions={"en": ["a blue cube"]})
    changed = cached_text_states(encoder, [clip.some_captions(1) for clip in list_clips(dataset)], folder)
    assert len(asked) == 2
    assert [len(of_clip) for of_clip in changed] == [2, 1, 2]


TOLD = {
    "cuts": [4],
    "storyboards": {
        "zh": [{"text": "红色的球", "shots": ["它滚", "它跳"]}],
        "en": [{"text": "a red ball", "shots": ["it rolls", "it jumps"]}, {"text": "", "shots": ["red", "red"]}],
    },
}


def test_storyboards_are_encoded_shot_by_shot_behind_the_captions(dataset, codec):
    """Each with what holds for all of its clip; fails when a shot gets another's text."""
    write_clip(dataset, 2, 9, **TOLD)
    clips, encoder = list_clips(dataset), TextEncoder.load(TEXT_ENCODER)
    assert {key: clips[2].record()[key] for key in TOLD} == TOLD  # as shards' indices hold it
    folders = dataset / "latents", dataset / "texts"
    encoded = ClipEncoder(codec, folders[0], encoder, folders[1], 1).encode(clips, Reader(3, 0.0), "clips")
    assert [len(clip.captions) for clip in encoded] == [2, 2, 2]
    assert [(clip.cuts, len(clip.storyboards)) for clip in encoded] == [((), 0), ((), 0), ((4,), 2)]
    prompts = [["a red ball. it rolls", "a red ball. it jumps"], ["红色的球。它滚", "红色的球。它跳"]]
    for told, texts in zip(encoded[2].storyboards, prompts, strict=True):
        for states, text in zip(told, texts, strict=True):
            torch.testing.assert_close(states, encoder.encode([text])[0].half(), rtol=1e-2, atol=1e-2)


def test_a_storyboard_that_leaves_out_a_shot_is_refused(dataset):
    write_clip(dataset, 2, 9, **{**TOLD, "cuts": [2, 4]})
    with pytest.raises(DatasetError, match=r"000002\.json.*a storyboard has 2 shots; 2 cuts need 3"):
        list_clips(dataset)
