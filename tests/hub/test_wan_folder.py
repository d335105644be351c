"""Errors of a whole model's folder: one line, before anything is loaded."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import vitascope
from tests.hub.peers import diffusers
from vitascope import cli
from vitascope.errors import ModelError
from vitascope.hub import download as hub
from vitascope.hub import weights as hub_weights
from vitascope.hub.find import find_model
from vitascope.hub.registry import load_codec
from vitascope.hub.wan import folder as wan_folder_module
from vitascope.hub.wan import umt5
from vitascope.hub.weights import SHARD_INDEX
from vitascope.hub.weights import WEIGHTS_FILE as WEIGHTS


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def complaint(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of the library and of the command line, given before any weights are read."""

    def load(self: object, device: torch.device, dtype: torch.dtype) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(hub_weights.LazyNetwork, "load", load)
    with pytest.raises(ModelError) as raised:
        vitascope.load(folder)
    message = str(raised.value)
    assert cli.main(["generate", "a ball", "--model", str(folder), "-o", str(folder / "ball.mp4")]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"vitascope: error: {message}\n")
    return message


def break_index(folder: Path, **changes: object) -> None:
    edit_json(folder / "model_index.json", **changes)


def to_pickle(folder: Path, part: str, name: str) -> None:
    (folder / part / name).unlink()
    (folder / part / "model.bin").write_bytes(b"never read")


def lose_shard(folder: Path) -> None:
    part = folder / "text_encoder"
    tensors = load_file(part / umt5.WEIGHTS)
    names = sorted(tensors)
    weight_map = {name: f"model-0000{1 + k % 2}-of-00002.safetensors" for k, name in enumerate(names)}
    for file in set(weight_map.values()):
        save_file({name: tensors[name] for name in names if weight_map[name] == file}, part / file)
    (part / SHARD_INDEX.format(umt5.WEIGHTS)).write_text(json.dumps({"weight_map": weight_map}))
    (part / umt5.WEIGHTS).unlink()
    (part / "model-00002-of-00002.safetensors").unlink()


def lose_tensor(folder: Path) -> None:
    path = folder / "transformer" / WEIGHTS
    tensors = load_file(path)
    del tensors["blocks.1.attn2.to_k.weight"]
    save_file(tensors, path)


DAMAGE = {
    "missing shard": (lose_shard, "missing shard"),
    "wrong shape": (lambda f: edit_json(f / "text_encoder" / "config.json", d_ff=48), "has shape (32,"),
    "missing tensor": (lose_tensor, "no tensor blocks.1.attn2.to_k.weight"),
    "only a pickle": (lambda f: to_pickle(f, "text_encoder", umt5.WEIGHTS), "is a pickle"),
    "a pickled transformer": (lambda f: to_pickle(f, "transformer", WEIGHTS), "is a pickle"),
    "missing part": (lambda f: shutil.rmtree(f / "text_encoder"), "text_encoder is missing"),
    "missing tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "tokenizer is missing"),
    "empty tokenizer": (lambda f: [path.unlink() for path in (f / "tokenizer").iterdir()], "tokenizer.json; download"),
    "another pipeline": (lambda f: break_index(f, _class_name="FluxPipeline"), "'FluxPipeline'"),
    "another transformer": (
        lambda f: break_index(f, transformer=["diffusers", "FluxTransformer2DModel"]),
        "transformer is a FluxTransformer2DModel; it must be a WanTransformer3DModel",
    ),
    "two transformers": (
        lambda f: break_index(f, transformer_2=["diffusers", "WanTransformer3DModel"], boundary_ratio=0.9),
        "transformer_2 is a WanTransformer3DModel; our pipeline has no such part",
    ),
    "an image encoder": (
        lambda f: break_index(f, image_encoder=["transformers", "CLIPVisionModel"]),
        "image_encoder is a CLIPVisionModel",
    ),
    "no text encoder": (lambda f: break_index(f, text_encoder=[None, None]), "names no text_encoder"),
    "another text encoder": (
        lambda f: edit_json(f / "text_encoder" / "config.json", model_type="t5"),
        "describes 't5'",
    ),
    "another schedule": (
        lambda f: edit_json(f / "scheduler" / "scheduler_config.json", use_dynamic_shifting=True),
        "use_dynamic_shifting is True; only False is supported",
    ),
    "a negative shift": (lambda f: edit_json(f / "scheduler" / "scheduler_config.json", shift=-1), "shift is -1; it"),
    "a scheduler of another class": (
        lambda f: edit_json(f / "scheduler" / "scheduler_config.json", _class_name="DPMSolverMultistepScheduler"),
        "describes 'DPMSolverMultistepScheduler', but model_index.json names FlowMatchEulerDiscreteScheduler",
    ),
    "DPM-Solver++": (
        lambda f: break_index(f, scheduler=["diffusers", "DPMSolverMultistepScheduler"]),
        "scheduler is a DPMSolverMultistepScheduler; it must be a UniPC",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_one_line(wan_folder, damage, monkeypatch, capsys):
    change, said = DAMAGE[damage]
    change(wan_folder)
    assert said in complaint(wan_folder, monkeypatch, capsys)


def test_parts_that_do_not_belong_together(wan_folder, peers, monkeypatch, capsys):
    shutil.rmtree(wan_folder / "vae")
    shutil.copytree(peers["2.2"][1] / "vae", wan_folder / "vae")
    assert "the transformer takes 4 channels and gives 4, the latents have 6" in complaint(
        wan_folder, monkeypatch, capsys
    )


@pytest.mark.parametrize("held", [("shared.weight",), ("encoder.embed_tokens.weight",), umt5.TIED])
def test_the_table_of_words_under_either_name_or_both(wan_folder, peers, held):
    """As different releases have it."""
    path = wan_folder / "text_encoder" / umt5.WEIGHTS
    tensors = load_file(path)
    words = next(tensors.pop(name) for name in umt5.TIED if name in tensors)
    save_file({**tensors, **{name: words.clone() for name in held}}, path)
    prompt = "a red ball"
    states = [vitascope.load(folder).text_encoder.encode([prompt])[0] for folder in (wan_folder, peers["2.1"][1])]
    assert torch.equal(*states)


FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 5.0}
UNIPC, EULER = "UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"


def schedule(folder: Path, kind: str, **settings: object) -> None:
    tree = {"_class_name": kind, **settings}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(tree))
    break_index(folder, scheduler=["diffusers", kind])


def test_the_shift_and_the_solver_of_the_released_schedule(wan_folder):
    """Every setting of the published file, at its value there."""
    published = dict(diffusers.UniPCMultistepScheduler(**FLOW).config)
    schedule(wan_folder, UNIPC, **published)
    config = vitascope.load(wan_folder, weights=False).config
    assert (config.solver, config.spacing, config.shift) == ("unipc", "unipc", 5.0)
    assert config.reference_tokens is None


def test_settings_left_over_from_another_scheduler_are_no_obstacle(wan_folder):
    """diffusers keeps them where a scheduler is made from another one's config."""
    euler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    unipc = diffusers.UniPCMultistepScheduler.from_config({**euler.config, **FLOW, "flow_shift": 3.0})
    schedule(wan_folder, UNIPC, **unipc.config)
    assert vitascope.load(wan_folder, weights=False).config.shift == 3.0
    schedule(wan_folder, EULER, **{**unipc.config, **euler.config})
    assert vitascope.load(wan_folder, weights=False).config.solver == "euler"


SETTINGS = {
    "use_karras_sigmas": True, "use_exponential_sigmas": True, "use_beta_sigmas": True, "use_dynamic_shifting": True,
    "shift_terminal": 0.1, "num_train_timesteps": 500, "a_setting_of_later": 7, "another": "on",
}  # fmt: skip
OF_UNIPC = {
    "use_flow_sigmas": False, "prediction_type": "epsilon", "solver_order": 3, "solver_type": "bh1",
    "predict_x0": False, "lower_order_final": False, "disable_corrector": [0], "solver_p": {"_class_name": "x"},
    "thresholding": True, "final_sigmas_type": "sigma_min", "flow_shift": "3", "shift": 4.0, "invert_sigmas": True,
}  # fmt: skip
OF_EULER = {"invert_sigmas": True, "stochastic_sampling": True, "shift": True, "solver_order": 3, "flow_shift": 2.0}
CASES = [
    *((UNIPC, name, value) for name, value in {**SETTINGS, **OF_UNIPC}.items()),
    *((EULER, name, value) for name, value in {**SETTINGS, **OF_EULER}.items()),
]


@pytest.mark.parametrize(("kind", "name", "value"), CASES, ids=lambda value: str(value)[:24])
def test_every_setting_that_would_change_the_samples_is_refused_by_its_name(wan_folder, kind, name, value):
    schedule(wan_folder, kind, **{**(FLOW if kind == UNIPC else {"shift": 3.0}), name: value})
    with pytest.raises(ModelError, match=rf"scheduler_config.json: {name} is ") as raised:
        vitascope.load(wan_folder, weights=False)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["use_flow_sigmas", "prediction_type"])
def test_a_setting_whose_default_is_no_flow_must_be_stated(wan_folder, name):
    schedule(wan_folder, UNIPC, **{key: value for key, value in FLOW.items() if key != name})
    with pytest.raises(ModelError, match=f"{name} is missing"):
        vitascope.load(wan_folder, weights=False)


def test_no_setting_of_the_peers_is_forgotten():
    """Every argument of the peer's constructors is supported, refused or known to change nothing."""
    import inspect

    for kind, form in wan_folder_module.SCHEDULERS.items():
        arguments = set(inspect.signature(getattr(diffusers, kind).__init__).parameters) - {"self"}
        assert arguments == {form.shift} | form.required.keys() | form.inert


def test_generate_and_info_take_the_folder(wan_folder, tmp_path, capsys):
    options = ["--size", "32x32", "--frames", "5", "--steps", "1", "--dtype", "bfloat16"]
    out = tmp_path / "ball.mp4"
    assert cli.main(["generate", "a red ball", "--model", str(wan_folder), "-o", str(out), *options]) == 0
    assert out.is_file()
    capsys.readouterr()
    assert cli.main(["info", str(wan_folder)]) == 0
    printed = capsys.readouterr().out
    for line in ("name: wan", "shift: 3.0", "a video takes.GiB of memory, about: ", "a video takes.TFLOP: "):
        assert f"{line}" in printed


def test_a_missing_package_is_one_line(wan_folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert cli.main(["info", str(wan_folder)]) == 2
    wanted = "vitascope: error: this needs ftfy; install it with: pip install 'vitascope[interop]'\n"
    assert capsys.readouterr().err == wanted


ID = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
CONFIGS = (ID, ["model_index.json", "*/*.json"])
WHOLE = (ID, [*CONFIGS[1], "*/*.safetensors"])  # no pickles


@pytest.fixture
def asked(wan_folder, monkeypatch, tmp_path) -> list[tuple[str, list[str]]]:
    """Requests to a fake hub that serves this folder without a network: (id, file patterns)."""
    import huggingface_hub

    requests = []

    def snapshot(model: str, allow_patterns: list[str]) -> str:
        requests.append((model, allow_patterns))
        return str(wan_folder)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    return requests


def test_an_id_is_asked_of_the_hub_and_nothing_else_is(wan_folder, asked):
    vitascope.load(wan_folder, weights=False)
    for model in ("nonsense", "../wan-ai/x", "a/b/c", "/owner/name", "owner/"):
        with pytest.raises(ModelError, match="no model"):
            vitascope.load(model)
    assert asked == []
    assert vitascope.load(ID).config.shift == 3.0
    assert asked == [CONFIGS, WHOLE]


def test_a_card_of_an_id_needs_no_download_of_weights(wan_folder, asked, capsys):
    for weights in wan_folder.rglob("*.safetensors"):
        weights.unlink()
    assert cli.main(["info", ID]) == 0
    assert "parameters.transformer: " in capsys.readouterr().out
    assert asked == [CONFIGS]


@pytest.mark.parametrize("damage", ["another pipeline", "another text encoder"])
def test_an_id_that_cannot_be_loaded_is_refused_before_its_weights_come(wan_folder, asked, damage):
    DAMAGE[damage][0](wan_folder)
    with pytest.raises(ModelError):
        vitascope.load(ID)
    assert asked == [CONFIGS]


def test_of_an_id_whose_codec_is_wanted_nothing_else_comes(asked):
    assert load_codec(find_model(ID, part="vae")).latent_channels == 4
    assert {Path(pattern).parent.name for _, patterns in asked for pattern in patterns} == {"", "vae"}


def test_a_hub_that_does_not_answer_is_one_line(monkeypatch, capsys):
    import huggingface_hub

    def snapshot(model: str, **options: object) -> str:
        raise OSError("offline\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert cli.main(["info", "owner/name"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "'owner/name' is no folder here" in message
    assert "offline" in message


@pytest.mark.parametrize(("name", "answer"), [("owner/name", True), ("name", False), ("a b/c", False), ("./x", False)])
def test_what_an_id_is(name, answer):
    assert hub.is_hub_id(name) is answer
