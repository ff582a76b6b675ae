"""RareAct (Miech et al. 2020, arXiv:2008.01018): unusual actions, such as to cut a laptop.

    rareact.csv
    clips/0.mp4, ...

    id,video_id,start,end,class_id,verb,noun,annotation
    0,7frRY7aGwMU,50,60,0,cut,laptop,1

A record asks of the seconds from `start` to `end` whether they show an action: `annotation` is 1 where they do, 2 or 3
where only the verb or only the noun is right, 4 where both are there but not together, 0 where neither is. Cut out, and
named by the record's id, they are the clips; the release has whole videos, named by `video_id`.
"""

from pathlib import Path

from lorgnette.document import Targets
from lorgnette.errors import DataError
from lorgnette.evaluation.few_shot import Benchmark
from lorgnette.evaluation.official.figures import MWAP
from lorgnette.evaluation.official.media import Clips, Missing, asked
from lorgnette.evaluation.official.reading import Ids, csv_lines
from lorgnette.evaluation.template import Template

ACTION = Template("<image>Caption: a person {answer}")
"""Flamingo's wording (Alayrac et al. 2022, arXiv:2204.14198, appendix)."""


def rareact(
    folder: Path,
    *,
    clips: str = "clips/{id}.mp4",
    missing: Missing = "refuse",
    template: Template = ACTION,
) -> Benchmark:
    """Every clip with every action, by likelihood, for mWAP. There is no training part: ask with 0 shots.

    Args:
        clips, missing: see `media.Clips`; the pattern may use any column.
    """
    path, files, ids = folder / "rareact.csv", Clips(folder, clips, missing), Ids()
    queries, actions = [], dict[int, str]()
    for entry in csv_lines(path):
        key, number = ids.take(entry, "id"), entry.whole("class_id")
        verb, noun, verdict = entry.text("verb"), entry.text("noun"), entry.whole("annotation")
        if verdict not in range(5):
            raise entry.bad("annotation", f"{verdict} is not from 0 to 4")
        if actions.setdefault(number, f"{verb} {noun}") != f"{verb} {noun}":
            raise entry.bad("class_id", f"{number} is also {actions[number]}")
        if shown := files.find(entry, entry.values):
            video = entry.text("video_id")
            meta = {"verb": verb, "noun": noun, "annotation": verdict, "video": video, "cluster": f"rareact/{video}"}
            targets = Targets(label=f"{verb} {noun}" if verdict == 1 else None)
            queries.append(asked(f"rareact/{key}", (shown,), "", f"{verb} {noun}", targets, meta))
    names = tuple(dict.fromkeys(actions.values()))
    if len(names) < len(actions):
        raise DataError("two classes are the same action", where=path, field="class_id")
    return Benchmark(
        "rareact", queries, (), template, candidates=names, measures=(MWAP,), open_ended=False, note=files.told()
    )
