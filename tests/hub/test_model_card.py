"""The bundled model's card states the figures of its index, with front matter as Hugging Face expects it."""

from __future__ import annotations

from pathlib import Path

import vitascope

BUNDLED = Path(vitascope.__file__).parent / "models" / "playground"


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
