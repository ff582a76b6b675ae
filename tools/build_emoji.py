"""Builds `lorgnette/data/shards/emoji`: the same concepts drawn by several hands, and their names in several languages.

    pip install pillow resvg_py
    python tools/build_emoji.py FOLDER --fetch

FOLDER keeps the npm tarballs; `--fetch` runs `npm pack` for those that are missing. Each must have the SHA-256 that
stands in `emoji_packages.py`. With the same versions of Pillow, libwebp and resvg the output is the same byte for byte;
the shards' own SHA-256 are in `manifest.json`.
"""

import argparse
import gzip
import hashlib
import io
import json
import re
import sys
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import PIL
import PIL.features
import PIL.Image
import resvg_py
from emoji_names import EMOJIONE_V1, FORMER, MOZILLA, STREAMLINE, WRONG
from emoji_packages import MIT_TEXT, NAMES, STYLES, UNICODE, Package, Sources

SIZE = 72
OVERSAMPLING = 2
QUALITY = 60  # 15 MB for everything; 70 would be 0.4 dB better and 1 MB larger
LOCALES = ("en", "de", "fr", "es", "zh", "ja", "it", "pt", "ru")
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
OUTPUT = Path(__file__).parent.parent / "lorgnette" / "data" / "shards" / "emoji"


@dataclass
class Concepts:
    """What is drawn: code point sequences without variation selectors, in Unicode's order."""

    sequences: list[str]
    categories: list[str]
    subcategories: list[str]
    names: dict[str, list[list[str]]]


def bare(sequence: str) -> str:
    """The sequence in upper-case hex without FE0F: the styles disagree on where to write that."""
    return "-".join(part for part in sequence.upper().split("-") if part != "FE0F")


def slug(name: str) -> str:
    """`flag: Côte d’Ivoire` -> `flag-cote-divoire`, as the icon sets name their files."""
    letters = unicodedata.normalize("NFKD", re.sub("[’'“”]", "", name.lower().replace("&", " and ")))
    return re.sub("[^a-z0-9#*]+", "-", "".join(c for c in letters if not unicodedata.combining(c))).strip("-")


def read_concepts(sources: Sources) -> Concepts:
    """Every emoji but the skin tone variants, with its place in the taxonomy, names and keywords."""
    entries = sorted(sources.json(STYLES["google"], "emoji.json"), key=lambda e: e["sort_order"])
    sequences = [bare(entry["unified"]) for entry in entries]
    names: dict[str, list[list[str]]] = {}
    for locale in LOCALES:
        table = sources.json(NAMES[0], f"annotations/{locale}/annotations.json")["annotations"]["annotations"]
        derived = sources.json(NAMES[1], f"annotationsDerived/{locale}/annotations.json")["annotationsDerived"]
        table |= derived["annotations"]
        names[locale] = []
        for sequence in sequences:
            entry = table["".join(chr(int(part, 16)) for part in sequence.split("-"))]
            name = entry["tts"][0]
            names[locale].append([name, *(word for word in entry.get("default", ()) if word != name)])
    return Concepts(sequences, [e["category"] for e in entries], [e["subcategory"] for e in entries], names)


def known_names(sources: Sources, concepts: Concepts) -> dict[str, str]:
    """Icon name -> sequence: by the CLDR name of today, or by the table that Fluent Emoji brings."""
    found: dict[str, str] = {}
    for sequence, (name, *_) in zip(concepts.sequences, concepts.names["en"], strict=True):
        found[slug(name)] = sequence
        if name.startswith("flag: "):
            found["flag-for-" + slug(name.removeprefix("flag: "))] = sequence
    for sequence, name in sources.json(STYLES["fluent-flat"], "chars.json").items():
        if bare(sequence) in concepts.sequences:
            found.setdefault(name, bare(sequence))
    return found


def mozilla_names(sources: Sources, concepts: Concepts, known: dict[str, str]) -> dict[str, str]:
    """Firefox OS writes Unicode's own names without spaces, shortens them, or invents."""
    found: dict[str, str] = {}
    entries = {bare(entry["unified"]): entry for entry in sources.json(STYLES["google"], "emoji.json")}
    for sequence in concepts.sequences:
        names = [entries[sequence]["name"] or "", *entries[sequence]["short_names"]]
        if "-" not in sequence:
            names.append(unicodedata.name(chr(int(sequence, 16)), ""))
        for name in names:
            found.setdefault(re.sub("[^a-z0-9]", "", name.lower()), sequence)
    for name, sequence in known.items():
        found.setdefault(name.replace("-", ""), sequence)
    return found | MOZILLA


def svg_icons(sources: Sources, package: Package, find: Callable[[str], str | None]) -> Iterator[tuple[str, str]]:
    """(sequence, SVG) of an icon set; `find` says what an icon's name means. Own names go before aliases."""
    icons = sources.json(package, "icons.json")
    seen: set[str] = set()
    for name in [*icons["icons"], *icons.get("aliases", {})]:
        sequence = find(name)
        if not sequence or sequence in seen:
            continue
        seen.add(sequence)
        icon = {key: icons[key] for key in ("width", "height", "left", "top") if key in icons}
        turn = ""
        while name in icons.get("aliases", {}):
            alias = icons["aliases"][name]
            if alias.keys() - {"parent", "hFlip"}:
                sys.exit(f"{package.name}: {name}: cannot draw {alias}")
            turn = "matrix(-1 0 0 1 {right} 0)" if alias.get("hFlip") else turn
            name = alias["parent"]
        icon |= icons["icons"][name]
        left, top, width, height = (icon.get(key, 0) for key in ("left", "top", "width", "height"))
        body = f'<g transform="{turn.format(right=2 * left + width)}">{icon["body"]}</g>' if turn else icon["body"]
        side = max(width, height)
        box = f"{left - (side - width) / 2:g} {top - (side - height) / 2:g} {side} {side}"
        head = f'xmlns="{SVG}" xmlns:xlink="{XLINK}" width="{side}" height="{side}" viewBox="{box}"'
        yield sequence, f"<svg {head}>{body}</svg>"


def render(svg: str) -> PIL.Image.Image:
    """RGBA, `SIZE` pixels square, the drawing centred; averaged down from a larger rendering."""
    large = SIZE * OVERSAMPLING
    png = resvg_py.svg_to_bytes(svg_string=svg, width=large, skip_system_fonts=True)
    picture = PIL.Image.open(io.BytesIO(png)).convert("RGBA")
    if picture.width != picture.height:
        sys.exit(f"a drawing is not square: {svg[:200]}")
    return picture.resize((SIZE, SIZE), PIL.Image.Resampling.BOX)


def pictures(sources: Sources, key: str, concepts: Concepts) -> Iterator[tuple[str, PIL.Image.Image]]:
    """(sequence, picture) of one style, each concept at most once."""
    package = STYLES[key]
    if key in ("google", "twitter"):
        for entry in sources.json(package, "emoji.json"):
            sequence = bare(entry["unified"])
            if entry[f"has_img_{key}"] and (key, sequence) not in WRONG:
                png = sources.files(package)[f"img/{key}/64/{entry['image']}"]
                yield sequence, PIL.Image.open(io.BytesIO(png)).convert("RGBA")
        return
    icons: Iterator[tuple[str, str]]
    known = known_names(sources, concepts)
    if key == "openmoji":
        files = sources.files(package)
        drawn = {bare(Path(name).stem): name for name in files if name.startswith("color/svg/")}
        icons = ((s, files[drawn[s]].decode()) for s in concepts.sequences if s in drawn)
    elif key in ("fluent", "fluent-flat"):
        icons = svg_icons(sources, package, known.get)
    elif key == "fxemoji":
        icons = svg_icons(sources, package, mozilla_names(sources, concepts, known | FORMER).get)
    elif key == "streamline":
        # Several drawings of one concept are numbered; the first is taken.
        names = known | FORMER | STREAMLINE
        icons = svg_icons(sources, package, lambda name: names.get(re.sub(r"-\d$", "", name)))
    else:
        names = known | FORMER | (EMOJIONE_V1 if key == "emojione-v1" else {})
        icons = svg_icons(sources, package, lambda name: names.get(name.replace("flag-for-flag-", "flag-for-")))
    for sequence, svg in icons:
        yield sequence, render(svg)


def encode(picture: PIL.Image.Image) -> bytes:
    """WebP with alpha; without loss where that is no larger."""
    lossy, lossless = io.BytesIO(), io.BytesIO()
    picture.save(lossy, "WEBP", quality=QUALITY, alpha_quality=QUALITY, method=6)
    picture.save(lossless, "WEBP", lossless=True, quality=75, method=4)
    return min(lossless.getvalue(), lossy.getvalue(), key=len)


def stated_licence(sources: Sources, package: Package) -> str:
    """What the package itself says about its licence, word for word."""
    files = sources.files(package)
    if "info.json" in files:
        info = sources.json(package, "info.json")
        return f"{info['name']}, {info['author']['name']} ({info['author']['url']}), {json.dumps(info['license'])}"
    if "datasource" in package.name:
        vendor = "Android/Google/Noto" if package.name.endswith("google") else "Twitter"
        return next(line for line in files["README.md"].decode().splitlines() if line.startswith(f"* {vendor}"))[2:]
    return f"package.json: {json.dumps(sources.json(package, 'package.json')['license'])}"


def attribution(sources: Sources, counts: dict[str, int]) -> str:
    """Whose every shard is, under which licence, what was changed, and where it comes from."""
    lines = [
        "# The embedded emoji",
        "",
        "Pictures of several free emoji sets, each in a shard of its own under its own licence, and their names.",
        f"Changes made: drawings rendered to {SIZE} pixels (the PNG files of Noto Emoji and Twemoji are kept at 64),",
        "skin tone variants left out, everything stored as WebP. Written by `tools/build_emoji.py`; do not edit. The",
        "Apache licence is in `Apache-2.0.txt`.",
    ]
    for key, package in STYLES.items():
        lines += [
            f"\n## {key}.zip: {package.title}\n",
            f"- author: {package.author}",
            f"- licence: {package.licence}",
            f"- pictures: {counts[key]:,}",
            f"- source: npm `{package.name}` {package.version}, SHA-256 of the tarball `{package.sha256}`",
            f"- the package says: {stated_licence(sources, package)}",
        ]
    lines.append("\n## concepts.json.gz: names and keywords (CLDR)\n")
    lines += [f"- licence: {UNICODE}"]
    lines += [f"- source: npm `{p.name}` {p.version}, SHA-256 of the tarball `{p.sha256}`" for p in NAMES]
    lines.append("- order and taxonomy: npm `emoji-datasource-google` (MIT, text below)")
    lines += ["\n## The MIT licence\n", MIT_TEXT]
    lines += ["## The Unicode licence\n", sources.files(NAMES[0])["LICENSE"].decode().strip(), ""]
    return "\n".join(lines)


def write(name: str, data: bytes) -> str:
    """Put a file in place at once, for whoever is reading the old one; its SHA-256."""
    new = OUTPUT / f"{name}.new"
    new.write_bytes(data)
    new.replace(OUTPUT / name)
    return hashlib.sha256(data).hexdigest()


def build(sources: Sources) -> None:
    """Write every shard, the concepts, the manifest and the attribution."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    concepts = read_concepts(sources)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as file:
        file.write(json.dumps(vars(concepts), ensure_ascii=False, separators=(",", ":")).encode())
    hashes = {"concepts.json.gz": write("concepts.json.gz", packed.getvalue())}
    counts: dict[str, int] = {}
    for key in STYLES:
        files = sorted((f"{sequence}.webp", encode(p)) for sequence, p in pictures(sources, key, concepts))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as shard:
            for name, data in files:
                shard.writestr(zipfile.ZipInfo(name), data)
        hashes[f"{key}.zip"] = write(f"{key}.zip", packed.getvalue())
        counts[key] = len(files)
        print(f"{key:12} {len(files):5} images {len(packed.getvalue()) / 1e6:6.2f} MB", flush=True)
    made = {"pillow": PIL.__version__, "webp": PIL.features.version("webp"), "resvg": resvg_py.__version__}
    manifest = {"made_with": made, "images": counts, "sha256": hashes}
    write("manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
    write("ATTRIBUTION.md", attribution(sources, counts).encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the npm tarballs are kept")
    parser.add_argument("--fetch", action="store_true", help="download those that are missing (needs npm)")
    arguments = parser.parse_args()
    tarballs = Sources(arguments.folder)
    if arguments.fetch:
        tarballs.fetch()
    tarballs.check()
    build(tarballs)
