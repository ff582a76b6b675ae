"""Captioning: say what a picture shows, openly or by choosing among names."""

from collections.abc import Sequence

from lorgnette.data.source import Source
from lorgnette.document import Document, Targets
from lorgnette.errors import ConfigError, DataError
from lorgnette.evaluation.items import Item, counted, decoys, documents, draws
from lorgnette.evaluation.normalise import plain
from lorgnette.evaluation.task import Task
from lorgnette.incontext.decoding import Decoding
from lorgnette.prompts import answer, begun


def captioning(
    source: Source,
    *,
    support: Source | None = None,
    shots: int = 0,
    ways: int = 10,
    within: str | None = None,
    limit: int | None = None,
    max_tokens: int = 16,
    prompt: str = "",
    seed: int = 0,
    name: str = "captioning",
) -> Task:
    """The captions of a source's pictures, without worked examples or with some.

    Open-ended: the caption, and its end, word for word. Choice: the caption among those of other pictures. Each stands
    `ways - 1` times as often wrong as right where it can. Where one caption is common it cannot (`decoys`), and a blind
    model gets more than chance, `1 / ways`: read such figures beside `floors.constant`. Documents that hold a question
    before the answer are asked it.

    Args:
        source: documents that end in their caption (or answer); `targets.references` are accepted besides it.
        support: where worked examples come from; never of the picture's cluster, never with one of its candidates.
        shots: worked examples; tasks that differ in `shots` alone ask the same items.
        ways: captions to choose from; fewer where the source does not have so many different ones.
        within: a field of the metadata, such as "subcategory", that all candidates share: the hard choice. Pictures
            without `ways - 1` different neighbours there are left out.
        limit: ask about so many pictures, drawn at random.
        prompt: what every caption goes on from, such as "a picture of".

    Raises:
        DataError: too few different captions, or too few worked examples.
    """
    if ways < 2 or shots < 0 or (shots and support is None):
        raise ConfigError(
            f"{ways} ways and {counted(shots, 'shot')}", fix="At least two ways; a support source for shots."
        )
    queries = [begun(document, prompt) for document in documents(source) if answer(document).strip()]
    if limit is not None and limit < len(queries):
        queries = draws(seed, name, "limit").sample(queries, limit)
    groups: dict[object, list[Document]] = {}
    for document in queries:
        groups.setdefault(document.meta.get(within) if within else None, []).append(document)
    if within:
        groups = {field: some for field, some in groups.items() if field is not None and len(_names(some)) >= ways}
    else:
        ways = min(ways, len(_names(queries)))
    if ways < 2 or not groups:
        raise DataError("there are too few different captions to choose from", where=name)

    pool = [begun(document, prompt) for document in documents(support)] if support is not None else []
    items = []
    for some in groups.values():
        answers = [answer(document) for document in some]
        # Whatever else is said of the picture is right too, and no wrong candidate.
        known = [{plain(text) for text in (document.targets or Targets()).references} for document in some]

        def fits(i: int, text: str, known: Sequence[set[str]] = known) -> bool:
            return plain(text) not in known[i]

        wrong = decoys(answers, ways - 1, fits, seed)
        for document, right, others in zip(some, answers, wrong, strict=True):
            if len(others) == ways - 1:
                items.append(_item(document, right, others, pool, shots, seed))
    note = f"{ways}-way choice" + (f" within the same {within}" if within else "") + f"; {counted(shots, 'shot')}"
    return Task(name, tuple(items), 1 / ways, eos=True, decoding=Decoding(max_tokens), note=note)


def _names(some: Sequence[Document]) -> set[str]:
    return {answer(document) for document in some}


def _item(
    document: Document, right: str, others: tuple[str, ...], pool: Sequence[Document], shots: int, seed: int
) -> Item:
    rng = draws(seed, document.key)
    candidates = rng.sample((right, *others), 1 + len(others))
    references = document.targets.references if document.targets else ()
    support: list[Document] = []
    used = {picture.digest for picture in document.images}
    for example in rng.sample(pool, len(pool)) if shots else ():
        fresh = example.cluster != document.cluster and used.isdisjoint(picture.digest for picture in example.images)
        if fresh and answer(example) not in candidates:
            support.append(example)
            used |= {picture.digest for picture in example.images}
        if len(support) == shots:
            break
    if len(support) < shots:
        raise DataError(f"no {shots} worked examples for it", where=document.key, fix="Give a larger support source.")
    return Item(document, tuple(candidates), right, tuple(support), accepted=tuple(references), group=document.cluster)
