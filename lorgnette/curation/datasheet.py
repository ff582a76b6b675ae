"""A datasheet (Gebru et al. 2021, arXiv:1803.09010): their headings, filled with what was measured.

What no measurement can say stays a line for the owner of the data, marked as such.
"""

from typing import Any

from lorgnette.curation.options import Options

OWNER = "*For the owner of the data to write.*"


def datasheet(told: dict[str, Any], options: Options) -> str:
    """The page, as Markdown, of what `report.json` holds."""
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

`drops.jsonl` names every dropped document and its rule.

## Uses

{OWNER}

## Distribution

{OWNER}

## Maintenance

{OWNER}
"""
