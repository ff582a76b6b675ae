"""What a curation does, as plain values."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from lorgnette.errors import ConfigError, DataError

Stage = Literal["flamingo", "filip", "exact", "near", "texts", "semantic"]


@dataclass(frozen=True)
class Options:
    """What a curation does; docs/curation.md says what each stage is.

    Args:
        stages: "flamingo" and "filip" are rules on pictures and captions; "exact" and "near" drop repeated pictures,
            "texts" repeated pages and texts, "semantic" pictures whose embeddings are alike (needs `model`).
        language: which "filip" keeps; empty keeps all.
        repeats: "filip" drops texts that occur more often than this.
        sensitive: a file with a word or phrase a line; "filip" drops documents that say one.
        names: a file with a name a line; "filip" writes <person> in their place.
        words: texts of fewer words are not compared with others, since short ones coincide by chance.
        similarity: the least share of common word triples (Jaccard) of two texts that are alike.
        model: embeds pictures: the folder of a run, such as one of clip.pretrain, or the name of a vision encoder.
        likeness: the least cosine of two pictures that "semantic" takes for one.
        whiten: dimensions of a PCA whitening, fitted on the training part, in which diversity is told too; 0 for none.
        alignment: the least cosine of a picture and its text (the model must embed both).
        quantile: the share of pairs, those of the lowest cosines, that is dropped.
        captioner: the folder of a run that captions every picture; its words become `meta["generated"]`.
        validation: the share of clusters held out for validation.
        test: the share of clusters held out for tests.
        stratified: hold out of every class in proportion.
        by: a field of the metadata, such as concept: documents of one value stay in one part.
        concepts: a file with a word or phrase a line, of which the report says how many are covered.
        attributes: the same; the report says with which concepts and groups they occur.
        group: a field of the metadata, whose values are the groups.
        shard: documents of a shard, the unit of work that a killed run does not repeat.
        size: gigabytes from which on the next tar begins.
    """

    stages: tuple[Stage, ...] = ("flamingo", "exact", "near", "texts")
    language: str = "en"
    repeats: int = 10
    sensitive: Path | None = None
    names: Path | None = None
    words: int = 8
    similarity: float = 0.8
    model: str = ""
    likeness: float = 0.95
    whiten: int = 0
    alignment: float | None = None
    quantile: float | None = None
    captioner: Path | None = None
    validation: float = 0.0
    test: float = 0.0
    stratified: bool = False
    by: str = ""
    concepts: Path | None = None
    attributes: Path | None = None
    group: str = ""
    shard: int = 2048
    size: float = 1.0

    def __post_init__(self) -> None:
        for name in ("similarity", "likeness", "quantile"):
            if (value := getattr(self, name)) is not None and not 0 < value <= 1:
                raise ConfigError(f"{value} is not between 0 and 1", where="curate", field=name)
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise ConfigError("nothing would be left to train", where="curate", field="test", fix="Hold out less.")
        if min(self.shard, self.words, self.repeats) < 1 or self.size <= 0:
            raise ConfigError("less than 1", where="curate", field="shard, words, repeats or size")
        if self.whiten < 0:
            raise ConfigError(f"{self.whiten} dimensions", where="curate", field="whiten", fix="Give 0 for none.")
        wants = [self.alignment is not None, self.quantile is not None, "semantic" in self.stages, self.whiten > 0]
        if any(wants) and not self.model:
            fix = "Give the folder of a run of clip.pretrain, or where no text is scored the name of an encoder."
            raise ConfigError(
                "alignment, semantic duplicates and whitening need embeddings", where="curate", field="model", fix=fix
            )
        if self.stratified and not (self.test > 0 and self.validation > 0):
            raise ConfigError(
                "nothing is held out", where="curate", field="stratified", fix="Give validation and test."
            )
        for path in (self.sensitive, self.names, self.concepts, self.attributes):
            phrases(path)


@lru_cache
def phrases(path: Path | None) -> tuple[str, ...]:
    """The lines of a file, without blank ones and those that begin with #.

    Raises:
        DataError: it cannot be read, or holds none.
    """
    if path is None:
        return ()
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read ({error})", where=path, fix="Give a UTF-8 file, a phrase a line.") from None
    found = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not found:
        raise DataError("no phrases", where=path, fix="Write one a line.")
    return found
