"""A datasheet (Gebru et al. 2021, arXiv:1803.09010): their headings, filled with what was measured.

What no measurement can say stays a line for the owner of the data, marked as such.
"""

import html
from typing import Any

from lorgnette.curation.options import Options

OWNER = "*For the owner of the data to write.*"


def datasheet(told: dict[str, Any], options: Options) -> str:
    """The page, as Markdown, of what `report.json` holds."""
    told = _plain(told)
    quality = told["quality"]
    rules = [
        f"| {rule} | {one['dropped']:,} | {one['share']:.2%} | {one['alone']:,} |"
        for rule, one in told["rules"].items()
    ]
    absent = "\n".join(f"- `{field}`: missing in {share:.1%}" for field, share in quality["missing"].items())
    figures = {name: value for name, value in quality.items() if isinstance(value, (int, float))}
    measured = "\n".join(f"- {name.replace('_', ' ')}: {value:,.4g}" for name, value in figures.items())
    unread = {name: f", {one['documents']:,} of them unreadable" for name, one in told["unread"].items()}
    sets = [f"{name} ({count:,} documents{unread.get(name, '')})" for name, count in told["against"].items()]
    against = ", ".join(sets) or "nothing"
    pmi = "\n".join(
        f"- {one['attribute']} with {one['group']}: {one['pmi']:+.2f} bits, {one['count']} times"
        for one in quality.get("pmi", [])[:20]
    )
    origins = "\n".join(f"- {name}: {count:,}" for name, count in quality["origins"]["commonest"].items())
    parts = ", ".join(f"{count:,} {part}" for part, count in told["parts"].items() if count)
    return f"""# Datasheet: {told["source"] or "a curated set"}

## Motivation

{OWNER}

## Composition

- {told["kept"]:,} documents of {told["documents"]:,}, in {told["clusters"]:,} clusters of what is alike:
  {parts}.
- Sizes below are of a sample of {quality["documents"]:,} kept documents with {quality["words"]:,} words.

{measured}

Fields of the metadata, and texts:

{absent}

Groups and attributes (pointwise mutual information, 0 is independence):

{pmi or "None were asked for, or none occur together often enough."}

{_sentiment(quality.get("sentiment"))}

What the documents say of people, and whether they may: {OWNER}

## Collection process

{quality["origins"]["untold"]:.1%} of the sample do not say where they come from. The commonest sources:

{origins or "None is named."}

{OWNER}

## Preprocessing, cleaning, labelling

Stages: {", ".join(options.stages)}. Compared with: {against}. Each document has the first reason that applies;
`alone` is how many a rule would drop by itself.

| rule | dropped | share | alone |
|---|---|---|---|
{chr(10).join(rules)}

`drops.jsonl` names every dropped document and its rule.{_alignment(told["alignment"].get("told_apart"))}

## Uses

{OWNER}

## Distribution

{OWNER}

## Maintenance

{OWNER}
"""


def _plain(value: Any) -> Any:
    """The same, but that no name is markup or breaks a line."""
    if isinstance(value, dict):
        return {_plain(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return html.escape(" ".join(value.split()), quote=False) if isinstance(value, str) else value


def _sentiment(found: dict[str, Any] | None) -> str:
    if found is None or "left_out" in found:
        return "Sentiment of texts by group: " + (found["left_out"] if found else "no groups were given") + "."
    head = (
        f"Sentiment of texts by group (VADER, from -1 to 1; 95 % intervals), of {found['documents']:,} texts\n"
        f"with a mean of {found.get('mean', 0):+.3f}; {found['not_english']:,} that are not English are not scored:\n\n"
    )
    lines = []
    for name, one in found.get("groups", {}).items():
        line = f"- {name}: {one['mean']:+.3f} ({one['documents']:,} texts)"
        if "low" in one:
            line += f", {one['difference']:+.3f} from the rest ({one['low']:+.3f} to {one['high']:+.3f})"
        lines.append(line)
    return head + ("\n".join(lines) or "None of them has a group.")


def _alignment(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    return (
        f"\n\nThe cosines of the model tell {found['pairs']:,} pairs of picture and text from the same pictures with\n"
        f"texts of other documents with a ROC AUC of {found['auc']:.3f} (95 % interval {found['low']:.3f} to "
        f"{found['high']:.3f})."
    )
