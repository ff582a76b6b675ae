"""The share of padding in batches of captions and of windows of pages: each in a row, packed, and in rows of a length.

    python benchmarks/padding.py [--pages /usr/share/gimp/2.0/help/en] [--batches 2]

Batches are drawn at random: 512 captions of embedded emoji, and 64 windows of 256 tokens of the pages, in the tokens of
Gemma 3, as Flamingo lays them out. The last line is JSON.
"""

import argparse
import json
from functools import partial

import numpy as np

from lorgnette import language
from lorgnette.data.chunks import Varied
from lorgnette.data.named import open_data
from lorgnette.data.web.window import window
from lorgnette.fusion.cross import CrossLayout
from lorgnette.systems.flamingo import END
from lorgnette.vision.transform import Transform

LENGTHS = (0, 1024, 2048)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pages")
    parser.add_argument("--batches", type=int, default=2)
    options = parser.parse_args()
    words = language.load_tokenizer("gemma-3-270m")
    words.add([END])
    layout = CrossLayout(words, 32_768, Transform(32, (0.5,) * 3, (0.5,) * 3))
    told: dict[str, dict[str, float]] = {}
    for name, size, views in (("emoji", 512, ()), (options.pages, 64, (partial(window, tokenizer=words),))):
        if name is None:
            continue
        source, shown, rng = open_data(name)[0], Varied(END, views=views), np.random.default_rng(0)
        shares = []
        for _ in range(options.batches):
            documents = [shown(source[i], rng) for i in rng.integers(len(source), size=size).tolist()]
            batches = [layout(documents), *(layout.packed(documents, length) for length in LENGTHS)]
            shares.append([1 - float(batch.valid.float().mean()) for batch in batches])
        labels = ["each in a row", "packed", *(f"packed in rows of {length}" for length in LENGTHS[1:])]
        told[name] = dict(zip(labels, np.mean(shares, 0).round(3).tolist(), strict=True))
        for label, share in told[name].items():
            print(f"{size} of {name}, {label}: {share:.1%} padding")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
