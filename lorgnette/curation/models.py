"""What models say of documents: an embedding of the picture, its cosine with the text, and a caption.

Any run whose system embeds (CLIP) gives embeddings and cosines; any other run with an encoder, and any vision encoder
by its name, gives embeddings; any run that answers prompts captions.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor

from lorgnette.curation.options import Options
from lorgnette.curation.shards import Work
from lorgnette.curation.spread import Task
from lorgnette.data.source import Source
from lorgnette.document import Document, Image, Text
from lorgnette.errors import CheckpointError, DataError
from lorgnette.features import Sees
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.engine import Engine
from lorgnette.incontext.reading import Prompted
from lorgnette.incontext.rices import Eyes
from lorgnette.layout import Layout
from lorgnette.shapes import Batch
from lorgnette.training.checkpoint import load
from lorgnette.vision import loading as visions

SEEN = pa.schema(
    {
        "number": pa.int64(),
        "embedding": pa.binary(),
        "words": pa.binary(),
        "score": pa.float32(),
        "generated": pa.string(),
    }
)
"""`embedding` is of the picture; `words`, of the text of about `TEXTS` documents."""
TEXTS = 20_000
_BATCH = 32

Embed = Callable[[Sequence[Document]], tuple[Float32[ndarray, "N D"], Float32[ndarray, "N D"]]]
"""Documents of one picture to unit vectors of the pictures, and of the texts or NaN."""


@runtime_checkable
class Embeds(Protocol):
    """A system that has pictures and texts in one space."""

    @property
    def layout(self) -> Layout: ...

    def embed_images(self, batch: Batch) -> Float[Tensor, "B E"]: ...

    def embed_texts(self, batch: Batch) -> Float[Tensor, "B E"]: ...


def embedder(model: str, *, scores: bool) -> Embed:
    """What embeds with a run, or with an encoder of that name.

    Raises:
        CheckpointError, ConfigError: there is no such model, or it cannot tell how well texts fit and `scores` asks it.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if Path(model).exists():
        system = load(model, device=device)
        if isinstance(system, Embeds):
            return _pairs(system, device)
        eyes = Eyes(system, model) if isinstance(system, Sees) else None
    else:
        encoder = visions.load(model).to(device)
        if not scores:
            return _alone(lambda some: encoder.pooled(torch.stack(some).to(device)).cpu(), encoder.transform)
        eyes = None
    if eyes is None or scores:
        fix = "Give the folder of a run of clip.pretrain."
        raise CheckpointError("it has no pictures and texts in one space", where=model, fix=fix)

    def embed(documents: Sequence[Document]) -> tuple[Float32[ndarray, "N D"], Float32[ndarray, "N D"]]:
        eyes.known.clear()
        vectors = eyes([document.images[0] for document in documents]).astype(np.float32)
        return vectors, np.full_like(vectors, np.nan)

    return embed


def _pairs(system: Embeds, device: str) -> Embed:
    @torch.inference_mode()
    def embed(documents: Sequence[Document]) -> tuple[Float32[ndarray, "N D"], Float32[ndarray, "N D"]]:
        shown = [Document((one.images[0], Text(one.text)), one.key) for one in documents]
        batch = system.layout(shown).to(device)
        pictures, texts = (one(batch).float().cpu().numpy() for one in (system.embed_images, system.embed_texts))
        texts[[not one.text.strip() for one in documents]] = np.nan
        return pictures, texts

    return embed


def _alone(see: Callable[[list[Tensor]], Tensor], transform: Callable[[Tensor], Tensor]) -> Embed:
    @torch.inference_mode()
    def embed(documents: Sequence[Document]) -> tuple[Float32[ndarray, "N D"], Float32[ndarray, "N D"]]:
        vectors = see([transform(one.images[0].pixels()) for one in documents]).float()
        unit = torch.nn.functional.normalize(vectors, dim=-1).numpy()
        return unit, np.full_like(unit, np.nan)

    return embed


def looking(source: Source, work: Work, left: list[int], options: Options) -> Task:
    """The task that looks at one of the shards `left` and writes its table."""
    look = looker(source, options)

    def task(job: int) -> None:
        work.write("seen", left[job], look(work.numbers(left[job])))

    return task


def looker(source: Source, options: Options) -> Callable[[Sequence[int]], pa.Table]:
    """The table of `SEEN` for documents by number; a document is passed over that does not show one picture alone.

    Raises:
        CheckpointError, ConfigError: there is no such model, or it does not do what is asked.
    """
    scores = options.alignment is not None or options.quantile is not None
    embed = embedder(options.model, scores=scores) if options.model else None
    step = max(1, len(source) // TEXTS)
    engine = None
    if options.captioner is not None:
        system = load(options.captioner, device="cuda" if torch.cuda.is_available() else "cpu")
        if not isinstance(system, Prompted):
            raise CheckpointError("this system does not answer prompts", where=options.captioner)
        engine = Engine(system)

    def look(numbers: Sequence[int]) -> pa.Table:
        rows = []
        for start in range(0, len(numbers), _BATCH):
            good = _readable(source, numbers[start : start + _BATCH])
            if not good:
                continue
            documents = [document for _, document in good]
            told: list[dict[str, Any]] = [{"number": number} for number, _ in good]
            if embed is not None:
                for row, picture, text in zip(told, *embed(documents), strict=True):
                    row["embedding"] = picture.tobytes()
                    if not np.isnan(score := float(picture @ text)):
                        row |= {"score": score} | ({} if row["number"] % step else {"words": text.tobytes()})
            if engine is not None:
                answers = engine.generate([Document(one.parts[:1], one.key) for one in documents], Decoding(32))
                for row, answer in zip(told, answers, strict=True):
                    row["generated"] = answer.text.strip()
            rows += told
        return pa.Table.from_pylist(rows, SEEN)

    return look


def _readable(source: Source, numbers: Sequence[int]) -> list[tuple[int, Document]]:
    """Documents that show one picture, which comes first, and can be decoded."""
    good = []
    for number in numbers:
        try:
            document = source[number]
            if len(document.media) == 1 and isinstance(document.media[0], Image):
                picture = document.images[0].open()
                texts = tuple(part for part in document.parts if isinstance(part, Text))
                good.append((number, Document((Image(picture), *texts), document.key, document.meta)))
        except DataError:
            continue
    return good
