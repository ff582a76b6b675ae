"""The recipe of CLIP trains, under the paper's policy."""

from pathlib import Path

import numpy as np

from lorgnette.document import Document, Image, Text
from lorgnette.recipes.clip import pretrain
from lorgnette.training.loop import train


def test_pictures_find_their_captions(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    texts = ["cat", "dog", "red house", "rain", "boat", "hat"]
    documents = [
        Document((Image(draw.integers(0, 256, (20, 24, 3), dtype=np.uint8)), Text(text, 1.0)), key=text)
        for text in texts
    ]
    small = {"vision": "tiny-random", "context": 24, "width": 64, "layers": 2, "embedding": 16}
    run = pretrain(sources=(documents, documents), lr=1e-3, warmup=2, steps=20, validate_every=20, **small)
    clip = train(run, tmp_path / "run", device="cpu").eval()
    logits = clip(clip.layout(documents))
    assert logits.argmax(1).tolist() == list(range(6))
