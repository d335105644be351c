"""The text encoder against recorded states of the original network, and its behaviour on awkward prompts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import vitascope
from vitascope.errors import ModelError, PromptError
from vitascope.model.text import TextEncoder, check_prompt

FOLDER = Path(vitascope.__file__).parent / "models" / "playground" / "text_encoder"
FIXTURES = json.loads((Path(__file__).parent / "text_fixtures.json").read_text(encoding="utf-8"))["fixtures"]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.load(FOLDER)


@pytest.fixture(scope="module")
def states(encoder: TextEncoder) -> list[torch.Tensor]:
    return encoder.encode([fixture["prompt"] for fixture in FIXTURES])


@pytest.mark.parametrize("index", range(len(FIXTURES)))
def test_states_equal_the_recorded_ones(states: list[torch.Tensor], index: int) -> None:
    """Fails when nibbles are swapped, when the prefix is left out or when padding is not masked."""
    fixture, state = FIXTURES[index], states[index]
    assert state.shape == (len(fixture["ids"]), 384)
    for position, values in fixture["last_hidden_state_first8"].items():
        torch.testing.assert_close(state[int(position), :8], torch.tensor(values), atol=1e-4, rtol=0)
    pooled = torch.nn.functional.normalize(state.mean(0), dim=0)
    torch.testing.assert_close(pooled[:8], torch.tensor(fixture["pooled_first8"]), atol=1e-4, rtol=0)


def test_without_weights_it_has_the_same_size(encoder: TextEncoder, tmp_path: Path) -> None:
    shutil.copy(FOLDER / "config.json", tmp_path)  # and nothing else
    empty = TextEncoder.load(tmp_path, FOLDER.parent / "tokenizer", weights=False)
    assert all(weight.is_meta for weight in empty.weights.values())
    assert (empty.num_parameters, empty.num_bytes) == (encoder.num_parameters, encoder.num_bytes)


def test_the_encoder_says_its_sizes(encoder: TextEncoder) -> None:
    assert (encoder.width, encoder.max_tokens, encoder.num_layers) == (384, 512, 12)


def test_a_result_does_not_depend_on_its_batch(encoder: TextEncoder) -> None:
    """Fails when padded tokens are attended to, or when the order by length is not undone."""
    prompts = ["a ball", "a very long sentence about " + "a red ball and a blue cube, " * 20, "", "一只红球向左滚动"]
    together = encoder.encode(prompts)
    in_pairs = encoder.encode(prompts, batch_size=2)
    for prompt, state, paired in zip(prompts, together, in_pairs, strict=True):
        alone = encoder.encode([prompt])[0]
        torch.testing.assert_close(state, alone, atol=2e-5, rtol=0)
        torch.testing.assert_close(paired, alone, atol=2e-5, rtol=0)


def test_no_prompts_give_no_states(encoder: TextEncoder) -> None:
    assert encoder.encode([]) == []


def test_states_are_constants_that_may_enter_a_graph(encoder: TextEncoder) -> None:
    """Fails when a tensor of inference mode gets out: autograd refuses to save one for the backward pass."""
    state = encoder.encode(["a red ball"])[0]
    assert not state.requires_grad
    layer = torch.nn.Linear(encoder.width, 4)
    layer(state).sum().backward()
    assert layer.weight.grad is not None


def test_states_are_the_same_under_autocast(encoder: TextEncoder) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = encoder.encode(["a red ball"])[0]
    torch.testing.assert_close(inside, encoder.encode(["a red ball"])[0], atol=0, rtol=0)


def test_blanks_around_a_prompt_do_not_matter(encoder: TextEncoder) -> None:
    plain, padded = encoder.encode(["a red ball", "  a red ball \n"])
    torch.testing.assert_close(plain, padded, atol=2e-5, rtol=0)


@pytest.mark.parametrize("mark", ["<s>", "</s>", "<pad>", "<mask>", "<unk>", "＜s＞", "＜ｐａｄ＞"])
def test_marks_written_in_a_prompt_are_taken_out(encoder: TextEncoder, mark: str) -> None:
    """Fails when a user can end the text early by writing the end mark."""
    begin, *inner, end = encoder._token_ids(f"a red {mark} ball")
    special = {encoder.tokenizer.token_to_id(name) for name in ("<s>", "</s>", "<pad>", "<mask>", "<unk>")}
    assert not special & set(inner)
    assert {begin, end} <= special


def test_the_empty_prompt_has_a_state(encoder: TextEncoder) -> None:
    empty = encoder.encode([""])[0]
    assert empty.shape == (len(encoder._token_ids("")), 384)
    assert len(empty) < 8
    torch.testing.assert_close(empty, encoder.encode([""])[0])
    assert not torch.allclose(empty[0], encoder.encode(["a red ball"])[0][0], atol=1e-2)


def test_a_prompt_may_fill_all_positions_but_no_more(encoder: TextEncoder) -> None:
    spare = encoder.max_tokens - len(encoder._token_ids("ball"))
    assert encoder.encode(["ball" + " ball" * spare])[0].shape == (512, 384)
    with pytest.raises(PromptError, match="513 tokens; the limit is 512"):
        encoder.encode(["ball" + " ball" * (spare + 1)])


@pytest.mark.parametrize("text", ["a red ball", "一只红球", "two\nlines\tand a tab", "a family 👨‍👩‍👧 walks"])
def test_check_prompt_gives_the_text_stripped(text: str) -> None:
    assert check_prompt(f" {text}\n") == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t\u3000", "empty"),
        ("\u200b\ufeff", "empty"),
        ("a" * 32_001, "32,001 characters"),
        ("a\0b", r"U\+0000"),
        ("a\x1bb", r"U\+001B"),
        ("a\ud800", r"U\+D800"),
    ],
)
def test_check_prompt_refuses(text: str, reason: str) -> None:
    with pytest.raises(PromptError, match=reason) as caught:
        check_prompt(text)
    assert "\n" not in str(caught.value)


def _copy(target: Path) -> Path:
    shutil.copytree(FOLDER, target / "text_encoder")
    shutil.copytree(FOLDER.parent / "tokenizer", target / "tokenizer")
    return target / "text_encoder"


def test_the_tokenizer_may_lie_elsewhere(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    (tmp_path / "tokenizer").rename(tmp_path / "words")
    with pytest.raises(ModelError, match=r"no file .*tokenizer\.json"):
        TextEncoder.load(folder)
    assert TextEncoder.load(folder, tmp_path / "words").width == 384


def _spoil_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def _spoil_weights(folder: Path, drop: str = "", add: str = "") -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop(drop, None)
    if add:
        weights[add] = torch.zeros(1)
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "config.json").write_text("{"), "not readable JSON"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\0"), "not readable JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "holds no JSON object"),
        (lambda f: (f / "config.json").write_text("{}"), "hidden_size: is missing"),
        (lambda f: _spoil_config(f, model_type="t5"), "model_type: Input should be 'bert', got 't5'"),
        (lambda f: _spoil_config(f, hidden_size="wide"), "hidden_size: .*valid integer"),
        (lambda f: _spoil_config(f, type_vocab_size=[2]), "type_vocab_size: .*valid integer"),
        (lambda f: _spoil_config(f, num_attention_heads=7), "multiple"),
        (lambda f: _spoil_config(f, num_hidden_layers=13), r"encoder\.layer\.12\.\S+ is missing"),
        (lambda f: _spoil_config(f, num_hidden_layers=11), "is unknown to this network"),
        (lambda f: (f / "model.safetensors").unlink(), "no file"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "not a readable weights file"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 4096), "not a readable weights file"),
        (lambda f: _spoil_weights(f, drop="embeddings.word_embeddings.weight.scale"), "not a readable weights file"),
        (lambda f: _spoil_weights(f, drop="embeddings.LayerNorm.bias"), "is missing"),
        (lambda f: _spoil_weights(f, add="pooler.dense.bias"), "pooler.dense.bias is unknown"),
        (lambda f: (f.parent / "tokenizer" / "tokenizer.json").write_text("{}"), "not a readable tokenizer"),
    ],
)
def test_a_spoilt_folder_is_one_line(tmp_path: Path, spoil, reason: str) -> None:
    folder = _copy(tmp_path)
    spoil(folder)
    with pytest.raises(ModelError, match=reason) as caught:
        TextEncoder.load(folder)
    assert "\n" not in str(caught.value)
