"""What a curation leaves beside its tars: report.json, report.html, audit.html, datasheet.md and drops.jsonl."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float32, Int64
from numpy import ndarray

from lorgnette.curation import quality, scorer
from lorgnette.curation.audit import audit_page
from lorgnette.curation.datasheet import datasheet
from lorgnette.curation.dropping import PICTURE, TEXT, Decided, Known
from lorgnette.curation.near import HELD_OUT
from lorgnette.curation.options import Options
from lorgnette.curation.sentiment import by_group
from lorgnette.curation.shards import Work
from lorgnette.curation.writing import PARTS, write_drops
from lorgnette.data.source import Source
from lorgnette.folders import write_json

NAME = "report.json"
FINDINGS, PAIRS, NAMED = 1000, 200, 10
"""Documents of a contamination that the report names; drops.jsonl has all. `NAMED`, of those that are unreadable."""


@dataclass(frozen=True)
class Report:
    """What became of the documents, as `report.json` holds it."""

    told: dict[str, Any]

    @property
    def kept(self) -> int:
        return int(self.told["kept"])

    @property
    def dropped(self) -> dict[str, int]:
        """Documents by reason."""
        return {reason: int(one["dropped"]) for reason, one in self.told["rules"].items()}

    def __str__(self) -> str:
        lines = [
            f"{self.kept:,} of {self.told['documents']:,} documents are kept, in {self.told['clusters']:,} clusters."
        ]
        for reason, one in self.told["rules"].items():
            if one["alone"]:
                lines.append(f"  {one['dropped']:>8,} {reason} ({one['share']:.2%}), such as {one['example']}")
        for name, one in self.told["unread"].items():
            lines.append(
                f"Of {name} {one['documents']:,} documents cannot be read and were compared with nothing, such as "
                f"{one['named'][0]['key']}: {one['named'][0]['problem']}"
            )
        return "\n".join(lines)


def keys_of(numbers: Int64[ndarray, " K"], sets: list[Work], names: list[str]) -> dict[int, str]:
    """The keys of documents by number; each shard is read once."""
    found: dict[int, str] = {}
    for k, work in enumerate(sets):
        mine = np.unique(numbers[numbers // HELD_OUT == k])
        shards = (mine - work.first) // work.size
        for shard in np.unique(shards).tolist():
            table = pq.read_table(work.path("documents", shard), columns=["number", "key"])
            rows = _only(table, mine[shards == shard]).to_pylist()
            found |= {row["number"]: f"{names[k - 1]}: {row['key']}" if k else row["key"] for row in rows}
    return found


def publish(
    folder: Path,
    source: Source,
    sets: list[Work],
    names: list[str],
    known: Known,
    decided: Decided,
    parts: Int64[ndarray, " K"],
    options: Options,
    name: str,
) -> Report:
    """Writes all of them into the folder.

    Args:
        sets: the documents, then the evaluation sets; `names`, those of the latter.
    """
    work, kept = sets[0], decided.kept
    named = np.concatenate([np.flatnonzero(decided.why >= 0), decided.because[decided.because >= 0]])
    keys, rules = keys_of(named, sets, names), {}
    for i, reason in enumerate(decided.reasons):
        which = np.flatnonzero(decided.why == i)
        example = keys[int(which[0])] if len(which) else ""
        share = len(which) / work.count
        rules[reason] = {"dropped": len(which), "alone": decided.alone[reason], "share": share, "example": example}
    contaminated = [i for i, reason in enumerate(decided.reasons) if reason in (PICTURE, TEXT)]
    pairs = np.flatnonzero(np.isin(decided.why, contaminated))[:FINDINGS].tolist()
    found = [
        {"key": keys[i], "evaluation": keys[int(decided.because[i])], "rule": decided.reasons[decided.why[i]]}
        for i in pairs
    ]
    rows = list(_rows(work, quality.sample(kept), decided.clusters))
    told: dict[str, Any] = {
        "source": name,
        "documents": work.count,
        "kept": len(kept),
        "clusters": len(np.unique(decided.clusters[kept])),
        "parts": {part: int((parts == k).sum()) for k, part in enumerate(PARTS)},
        "against": {one: work.count for one, work in zip(names, sets[1:], strict=True)},
        "unread": {one: lost for one, work in zip(names, sets[1:], strict=True) if (lost := _unread(work))},
        "rules": rules,
        "contaminated": found,
        "quality": quality.of_texts(rows, options),
        "alignment": {"least": decided.threshold, "quantiles": quality.quantiles(known.score)},
    }
    if options.group:
        told["quality"]["sentiment"] = by_group(rows)
    if options.model:
        numbers, vectors = _vectors(work, quality.sample(kept))
        told["quality"] |= quality.of_vectors(vectors)
        if options.whiten:
            train = np.isin(numbers, kept[parts == PARTS.index("train")])
            told["quality"] |= quality.of_whitened(vectors, train, options.whiten)
        seen = work.read("seen", ["number", "embedding", "words"])
        told["alignment"]["told_apart"] = scorer.judged(known, decided, seen)
    write_json(folder / NAME, told)
    why = [decided.reasons[i] if i >= 0 else "" for i in decided.why.tolist()]
    because = [keys[i] if i >= 0 else "" for i in decided.because.tolist()]
    write_drops(folder / "drops.jsonl", work, why, because)
    (folder / "datasheet.md").write_text(datasheet(told, options), "utf-8")
    page = jinja2.Environment(autoescape=True).from_string((Path(__file__).parent / "report.html").read_text("utf-8"))
    pairs_shown = [source[i] for i in quality.sample(kept, PAIRS).tolist()]
    (folder / "audit.html").write_text(audit_page(pairs_shown), "utf-8")
    (folder / "report.html").write_text(
        page.render(report=told, title=name or "a set", quality=dict(_flat(told["quality"]))), "utf-8"
    )
    return Report(told)


def _unread(work: Work) -> dict[str, Any]:
    """How many documents of an evaluation set could not be read, and some of them; empty where all could."""
    number = 0
    named: list[dict[str, str]] = []
    for table in work.read("documents", ["key", "problem"]):
        lost = table.filter(pc.not_equal(table["problem"], ""))
        number += len(lost)
        named += lost.slice(0, NAMED - len(named)).to_pylist()
    return {"documents": number, "named": named} if number else {}


def _only(table: pa.Table, numbers: Int64[ndarray, " S"]) -> pa.Table:
    return table.filter(pc.is_in(table["number"], pa.array(numbers)))


def _rows(work: Work, numbers: Int64[ndarray, " S"], clusters: Int64[ndarray, " N"]) -> Iterator[dict[str, Any]]:
    """The facts of some documents, as the quality report reads them."""
    for table in work.read("documents", ["number", "text", "label", "group", "origin", "fields"]):
        for row in _only(table, numbers).to_pylist():
            cluster = int(clusters[row["number"]])
            yield {**row, "text": row["text"] or "", "fields": row["fields"] or [], "cluster": cluster}


def _vectors(work: Work, numbers: Int64[ndarray, " S"]) -> tuple[Int64[ndarray, " V"], Float32[ndarray, "V D"]]:
    """Of those documents that have one, their numbers and embeddings."""
    tables = (_only(table, numbers) for table in work.read("seen", ["number", "embedding"]))
    seen = pa.concat_tables([table.filter(table["embedding"].is_valid()) for table in tables])
    found = seen["embedding"].to_pylist()
    vectors = np.frombuffer(b"".join(found), np.float32).reshape(len(found), -1 if found else 1)
    return seen["number"].to_numpy(), vectors


def _flat(told: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Names and figures, one to a line."""
    for name, value in told.items():
        words = f"{before}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            yield from _flat(value, f"{words}: ")
        elif isinstance(value, list):
            yield words, ", ".join(one if isinstance(one, str) else ", ".join(map(str, one.values())) for one in value)
        else:
            yield (
                words,
                value if isinstance(value, str) else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}",
            )
