"""Tasks on composed scenes: one for every kind of question, on which a blind model gets chance exactly."""

from lorgnette.data.scenes import Scenes
from lorgnette.errors import ConfigError
from lorgnette.evaluation.items import Item, counted, draws
from lorgnette.evaluation.normalise import plain, vqa
from lorgnette.evaluation.task import Task
from lorgnette.prompts import answer


def scene_tasks(
    source: Scenes,
    *,
    support: Scenes | None = None,
    shots: int = 0,
    limit: int = 240,
    induction: str = "",
    seed: int = 0,
) -> list[Task]:
    """Asks the first documents of every kind, in whole groups, after worked examples of the same kind.

    All members of a group are shown the same examples: what the prompt says tells nothing of the answer.

    Args:
        support: where worked examples come from: scenes of the same kinds; None asks at most half of `source` and takes
            them from the rest.
        shots: worked examples; tasks that differ in `shots` alone ask the same items, and more shots begin with fewer.
        limit: the most items of a kind.

    Raises:
        ConfigError: a set is too short for this.
    """
    tasks = []
    for name in source.kinds:
        members = source.family.kinds[name].members
        asked, rest = _places(source, name), _places(support or source, name)
        number = min(limit, len(asked) // 2 if support is None else len(asked)) // members * members
        if support is None:
            rest = rest[number:]
        if number < members or len(rest) < shots:
            fix = "Give longer sets of the same kinds, or ask for fewer shots."
            raise ConfigError(
                f"too few scenes for {counted(shots, 'shot')} of {name!r}", where=source.family.name, fix=fix
            )
        items = []
        for j, i in enumerate(asked[:number]):
            query = source[i]
            chosen = draws(seed, "scenes", name, j // members).sample(rest, len(rest))[:shots]
            assert query.targets is not None
            right = answer(query)
            before = right.removesuffix(right.lstrip())
            item = Item(
                query,
                tuple(before + choice for choice in query.targets.choices),
                right,
                tuple((support or source)[k] for k in chosen),
                accepted=query.targets.references[1:],
                induction=induction,
                group=query.cluster,
            )
            items.append(item)
        task = Task(
            f"scenes/{source.family.name}/{name}/{shots}-shot",
            tuple(items),
            1 / members,
            eos=not items[0].query.meta["question"],
            normalise=vqa if source.words.language == "en" else plain,
            note=f"{members}-way choice, {counted(shots, 'shot')}, {source.split} concepts",
        )
        tasks.append(task)
    return tasks


def _places(source: Scenes, kind: str) -> range:
    """Where a source has its documents of a kind."""
    if kind not in source.kinds:
        return range(0)
    return range(source.kinds.index(kind), len(source), len(source.kinds))
