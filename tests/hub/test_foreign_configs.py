"""Configs of other projects and of damaged folders: each wrong value of each field is one line, before any weights."""

from __future__ import annotations

import json
import random
import shutil
from functools import partial
from pathlib import Path

import pytest

import vitascope
from vitascope.errors import VitascopeError
from vitascope.files import read_json
from vitascope.hub.registry import _read_card, load_codec, load_text_encoder, load_transformer
from vitascope.hub.wan.folder import read_wan_card
from vitascope.model.bert_files import read_bert_config
from vitascope.model.text import read_tokenizer

BUNDLED = Path(vitascope.__file__).parent / "models" / "playground"
WRONG = (
    "x", "", "1e999", "9" * 5000, [], [1], [None], ["x"], [[[[]]]], {}, {"a": 1}, None, True, False,
    -1, 0, 1, 1.5, -0.0, 1e-300, 1e300, 2**31, 2**63, 10**30, 10**400,
)  # fmt: skip
SAMPLED = 5  # of them for each field; `benchmarks.robustness.fuzz` tries more
CODEC = {
    "_class_name": "AutoencoderKLWan", "base_dim": 8, "decoder_base_dim": None, "z_dim": 2, "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 1, "attn_scales": [], "temperal_downsample": [False, True, True], "latents_mean": [0.0, 0.1],
    "latents_std": [1.0, 2.0], "is_residual": False, "in_channels": 3, "out_channels": 3, "patch_size": None,
}  # fmt: skip
TRANSFORMER = {
    "_class_name": "WanTransformer3DModel", "patch_size": [1, 2, 2], "num_attention_heads": 2, "attention_head_dim": 16,
    "in_channels": 4, "out_channels": 4, "text_dim": 24, "freq_dim": 32, "ffn_dim": 48, "num_layers": 2,
    "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", "eps": 1e-6, "image_dim": None,
}  # fmt: skip
ORIGINAL = {
    "_class_name": "WanModel", "model_type": "t2v", "in_dim": 4, "out_dim": 4, "dim": 32, "ffn_dim": 48, "freq_dim": 32,
    "num_heads": 2, "num_layers": 2, "eps": 1e-6, "text_dim": 24, "patch_size": [1, 2, 2], "cross_attn_norm": True,
}  # fmt: skip
UMT5 = {"model_type": "umt5", "vocab_size": 64, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
SCHEDULERS = {
    "FlowMatchEulerDiscreteScheduler": {"shift": 3.0, "use_dynamic_shifting": False},
    "UniPCMultistepScheduler": {
        "flow_shift": 5.0,
        "use_flow_sigmas": True,
        "prediction_type": "flow_prediction",
        "solver_order": 2,
    },
}


def bundled(part: str) -> dict[str, object]:
    return json.loads((BUNDLED / part / "config.json").read_text("utf-8"))


def scheduler(kind: str) -> dict[str, object]:
    return {"_class_name": kind, **SCHEDULERS[kind]}


def load_scheduler(folder: Path, kind: str) -> object:
    parts = {
        "transformer": ["diffusers", "WanTransformer3DModel"], "vae": ["diffusers", "AutoencoderKLWan"],
        "text_encoder": ["transformers", "UMT5EncoderModel"], "tokenizer": ["transformers", "T5TokenizerFast"],
    }  # fmt: skip
    for part in parts:
        (folder / part).mkdir(exist_ok=True)
    (folder / "scheduler").mkdir(exist_ok=True)
    shutil.copy(folder / "config.json", folder / "scheduler" / "scheduler_config.json")
    parts["scheduler"] = ["diffusers", kind]
    return read_wan_card(folder, {"_class_name": "WanPipeline", **parts})


CONFIGS = {
    "our codec": (lambda: bundled("vae"), lambda f: load_codec(f, weights=False)),
    "our transformer": (lambda: bundled("transformer"), lambda f: load_transformer(f, weights=False)),
    "our text encoder": (lambda: bundled("text_encoder"), lambda f: read_bert_config(f / "config.json")),
    "Wan's codec": (lambda: CODEC, lambda f: load_codec(f, weights=False)),
    "Wan's transformer": (lambda: TRANSFORMER, lambda f: load_transformer(f, weights=False)),
    "the original transformer": (lambda: ORIGINAL, lambda f: load_transformer(f, weights=False)),
    "umT5": (lambda: UMT5, lambda f: load_text_encoder(f, BUNDLED / "tokenizer", weights=False)),
    **{kind: (partial(scheduler, kind), partial(load_scheduler, kind=kind)) for kind in SCHEDULERS},
}


def refusal(load, folder: Path) -> str | None:
    """The one line of an error, or None if the folder loads; other errors fail the test."""
    try:
        load(folder)
    except VitascopeError as error:
        message = str(error)
    else:
        return None
    assert "\n" not in message
    return message


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_wrong_value_of_any_field_is_read_or_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    """Fails when a field is used before its type and range are checked."""
    tree, load = CONFIGS[kind]
    config, refused, dice = tree(), 0, random.Random(0)
    for field in config:
        for value in dice.sample(WRONG, SAMPLED):
            (tmp_path / "config.json").write_text(json.dumps({**config, field: value}), encoding="utf-8")
            refused += refusal(load, tmp_path) is not None
        (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != field}))
        refusal(load, tmp_path)
    assert refused > len(config) * SAMPLED // 4


@pytest.mark.parametrize("deviation", [0, -1.0, float("nan"), float("inf"), "x", None, []])
@pytest.mark.parametrize("kind", ["our codec", "Wan's codec"])
def test_a_codecs_deviations_are_positive_numbers(kind: str, deviation: object, tmp_path: Path) -> None:
    """Fails when latent_std may be 0 or NaN: latents are divided by it."""
    tree, load = CONFIGS[kind]
    config = tree()
    name = "latent_std" if kind == "our codec" else "latents_std"
    for wrong in ([deviation, *config[name][1:]], config[name][1:], [*config[name], 1.0]):
        (tmp_path / "config.json").write_text(json.dumps({**config, name: wrong}), encoding="utf-8")
        assert refusal(load, tmp_path) is not None


@pytest.mark.parametrize("kind", CONFIGS)
def test_one_byte_changed_in_a_config_is_read_or_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    tree, load = CONFIGS[kind]
    content, dice = json.dumps(tree(), indent=1).encode(), random.Random(0)
    for _ in range(25):
        damaged = bytearray(content)
        damaged[dice.randrange(len(content))] = dice.randrange(256)
        (tmp_path / "config.json").write_bytes(damaged)
        refusal(load, tmp_path)


def test_a_wrong_value_in_a_models_index_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    for part in ("vae", "transformer", "text_encoder", "tokenizer"):
        (tmp_path / part).symlink_to(BUNDLED / part, target_is_directory=True)
    index = json.loads((BUNDLED / "model_index.json").read_text("utf-8"))
    index["pipeline"] = {**index["pipeline"], "height": 64}
    places = [("",), *(("pipeline", field) for field in index["pipeline"])]
    dice = random.Random(0)
    for place in places:
        for value in dice.sample(WRONG, 4):
            changed = {**index, "pipeline": {**index["pipeline"], place[1]: value} if len(place) == 2 else value}
            (tmp_path / "model_index.json").write_text(json.dumps(changed), encoding="utf-8")
            refusal(lambda f: _read_card(f, read_json(f / "model_index.json", "x")), tmp_path)


@pytest.fixture(scope="module")
def small_tokenizer() -> bytes:
    """The bundled tokenizer with its first 200 words."""
    tree = json.loads((BUNDLED / "tokenizer" / "tokenizer.json").read_text("utf-8"))
    tree["model"]["vocab"] = tree["model"]["vocab"][:200]
    tree["added_tokens"] = tree["added_tokens"][:4]
    return json.dumps(tree).encode()


def test_one_byte_changed_in_a_tokenizer_is_read_or_refused_in_one_line(
    small_tokenizer: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Fails when a panic of `tokenizers` gets out, or its message: PanicException is no Exception."""
    path, dice, refused = tmp_path / "tokenizer.json", random.Random(0), 0
    start = small_tokenizer.index(b"precompiled_charsmap")
    for number in range(80):
        damaged = bytearray(small_tokenizer)
        place = start + dice.randrange(40) if number % 3 == 0 else dice.randrange(len(damaged))
        damaged[place] = dice.choice([0, 34, 44, 60, 65, 92, 0xFF, dice.randrange(256)])
        path.write_bytes(damaged[: place if number % 20 == 0 else None])
        refused += refusal(lambda f: read_tokenizer(f, 36_000), path) is not None
    assert refused > 25
    assert "panicked" not in capfd.readouterr().err


def test_a_panic_of_the_tokenizer_is_a_model_error(
    small_tokenizer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PanicException(BaseException):
        """As pyo3's, whose class can't be imported."""

    def panic(text: str) -> None:
        raise PanicException("index out of bounds")

    (tmp_path / "tokenizer.json").write_bytes(small_tokenizer)
    monkeypatch.setattr("vitascope.model.text.Tokenizer.from_str", panic, raising=True)
    assert "index out of bounds" in (refusal(lambda f: read_tokenizer(f / "tokenizer.json", 200), tmp_path) or "")


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff\xfe", b"null", b"\xef\xbb\xbf{}"])
def test_a_file_that_is_no_tokenizer_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    assert refusal(lambda f: read_tokenizer(f / "tokenizer.json", 200), tmp_path)
    assert refusal(lambda f: read_tokenizer(f, 200), tmp_path)  # a folder
