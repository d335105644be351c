"""The bundled model's card states the figures of its index, with front matter as Hugging Face expects it."""

from __future__ import annotations

from pathlib import Path

import pytest

import vitascope

BUNDLED = Path(vitascope.__file__).parent / "models" / "playground"


@pytest.mark.parametrize("page", [BUNDLED / "README.md", BUNDLED.parents[2] / "README.md"], ids=["card", "README"])
def test_what_the_model_cannot_do_is_stated(page):
    """Fails when a page promises what the model doesn't do: directions, transitions, the real world, text."""
    text = " ".join(page.read_text(encoding="utf-8").split())
    for words in ("direction", '"walks to the right"', "hard cut", "`connect`", "never learned", "real people"):
        assert words in text
    for words in ("places", "written text", "sound", "steps every four frames"):
        assert words in text


def test_the_card_agrees_with_the_model():
    """Fails when the model is trained again and the card is left as it was."""
    text = (BUNDLED / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    keys = {line.split(":")[0] for line in front.splitlines() if ":" in line}
    assert keys == {"license", "language", "library_name", "pipeline_tag", "tags"}
    card = vitascope.load(weights=False).card()
    parts = {"vae": "codec", "transformer": "transformer", "text_encoder": "text encoder"}
    for row, part in parts.items():
        line = next(line for line in body.splitlines() if line.startswith(f"| `{row}`"))
        assert line.endswith(f"| {card['parameters'][part] / 1e6:.1f} M |")
    training, scores = card["training"], card["scores"]
    for figure in (training["clips"], training["steps on images"], training["steps on clips"], training["minutes"]):
        assert f"{figure:,}" in body
    assert f"{scores['codec PSNR on 64 unseen clips, dB']} dB" in body
