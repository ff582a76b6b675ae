"""Builds `lorgnette/data/shards/emoji`: the same concepts drawn by several hands, and their names in several languages.

    pip install pillow resvg_py
    python tools/build_emoji.py FOLDER --fetch

FOLDER keeps the npm tarballs; `--fetch` runs `npm pack` for those that are missing. Each must have the SHA-256 that stands
below. With the same versions of Pillow, libwebp and resvg the output is the same byte for byte; the shards' own
SHA-256 are in `manifest.json`.

Only sets with a free licence are read. The images of Apple, Facebook and JoyPixels are not free and are never used.
"""

import argparse
import base64
import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL
import PIL.features
import PIL.Image
import resvg_py
from emoji_names import FORMER, MOZILLA, STREAMLINE

SIZE = 72
OVERSAMPLING = 2
LOCALES = ("en", "de", "fr", "es", "zh", "ja", "it", "pt", "ru")
OUTPUT = Path(__file__).parent.parent / "lorgnette" / "data" / "shards" / "emoji"

APACHE = "Apache-2.0 (https://www.apache.org/licenses/LICENSE-2.0)"
BY = "CC-BY-4.0 (https://creativecommons.org/licenses/by/4.0/)"
BY_SA = "CC-BY-SA-4.0 (https://creativecommons.org/licenses/by-sa/4.0/)"


@dataclass(frozen=True)
class Style:
    """One set of pictures: the npm package it comes from, whose it is, and how hard it is compressed."""

    package: str
    version: str
    sha256: str
    title: str
    author: str
    licence: str
    quality: int

    @property
    def tarball(self) -> str:
        return f"{self.package.lstrip('@').replace('/', '-')}-{self.version}.tgz"


STYLES = {
    "google": Style("emoji-datasource-google", "16.0.0", "", "Noto Emoji", "Google", APACHE, 70),
    "twitter": Style("emoji-datasource-twitter", "16.0.0", "", "Twemoji", "Twitter, Inc and other contributors", BY, 70),
    "noto-v1": Style("@iconify-json/noto-v1", "1.2.5", "", "Noto Emoji (v1)", "Google Inc", APACHE, 70),
    "fxemoji": Style("@iconify-json/fxemoji", "1.2.2", "", "Firefox OS Emoji", "Mozilla", APACHE, 70),
    "fluent": Style("@iconify-json/fluent-emoji", "1.2.7", "", "Fluent Emoji", "Microsoft Corporation", "MIT", 70),
    "fluent-flat": Style(
        "@iconify-json/fluent-emoji-flat", "1.2.6", "", "Fluent Emoji Flat", "Microsoft Corporation", "MIT", 70
    ),
    "streamline": Style("@iconify-json/streamline-emojis", "1.2.4", "", "Streamline Emojis", "Streamline", BY, 70),
    "openmoji": Style(
        "openmoji", "17.0.0", "", "OpenMoji", "the OpenMoji project, HfG Schwäbisch Gmünd", BY_SA, 70
    ),
    "emojione": Style("@iconify-json/emojione", "1.2.3", "", "Emoji One (v2)", "Emoji One", BY, 70),
    "emojione-v1": Style("@iconify-json/emojione-v1", "1.2.3", "", "Emoji One (v1)", "Emoji One", BY_SA, 70),
}
NAMES = (
    Style("cldr-annotations-full", "48.2.0", "", "CLDR annotations", "Unicode, Inc.", "Unicode-3.0", 0),
    Style("cldr-annotations-derived-full", "48.2.0", "", "CLDR annotations", "Unicode, Inc.", "Unicode-3.0", 0),
)


@dataclass
class Concepts:
    """What is drawn: code point sequences without variation selectors, in Unicode's order."""

    sequences: list[str]
    categories: list[str]
    subcategories: list[str]
    names: dict[str, list[list[str]]]


class Package:
    """The files of one npm tarball."""

    def __init__(self, folder: Path, style: Style) -> None:
        self.path = folder / style.tarball
        with tarfile.open(self.path) as tar:
            self.files = {m.name.removeprefix("package/"): tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]

    def json(self, name: str) -> Any:
        return json.loads(self.files[name])


def bare(sequence: str) -> str:
    """The sequence in upper-case hex without FE0F: the styles disagree on where to write that."""
    return "-".join(part for part in sequence.upper().split("-") if part != "FE0F")


def slug(name: str) -> str:
    """`flag: Côte d’Ivoire` -> `flag-cote-divoire`, as the icon sets name their files."""
    letters = unicodedata.normalize("NFKD", re.sub("[’'“”]", "", name.lower().replace("&", " and ")))
    return re.sub("[^a-z0-9#*]+", "-", "".join(c for c in letters if not unicodedata.combining(c))).strip("-")


def read_concepts(folder: Path) -> Concepts:
    """Every emoji but the skin tone variants, with its place in the taxonomy, names and keywords."""
    entries = sorted(Package(folder, STYLES["google"]).json("emoji.json"), key=lambda e: e["sort_order"])
    sequences = [bare(entry["unified"]) for entry in entries]
    names: dict[str, list[list[str]]] = {}
    plain, derived = (Package(folder, package) for package in NAMES)
    for locale in LOCALES:
        table = plain.json(f"annotations/{locale}/annotations.json")["annotations"]["annotations"]
        table |= derived.json(f"annotationsDerived/{locale}/annotations.json")["annotationsDerived"]["annotations"]
        names[locale] = []
        for sequence in sequences:
            entry = table["".join(chr(int(part, 16)) for part in sequence.split("-"))]
            name = entry["tts"][0]
            names[locale].append([name, *(word for word in entry.get("default", ()) if word != name)])
    return Concepts(sequences, [e["category"] for e in entries], [e["subcategory"] for e in entries], names)


def known_names(folder: Path, concepts: Concepts) -> dict[str, str]:
    """Icon name -> sequence, by the CLDR name of today, by the tables that two of the icon sets bring, and `FORMER`."""
    found: dict[str, str] = {}
    for sequence, (name, *_) in zip(concepts.sequences, concepts.names["en"], strict=True):
        found[slug(name)] = sequence
        if name.startswith("flag: "):
            found["flag-for-" + slug(name.removeprefix("flag: "))] = sequence
    for sequence, name in Package(folder, STYLES["fluent-flat"]).json("chars.json").items():
        if bare(sequence) in concepts.sequences:
            found.setdefault(name, bare(sequence))
    return found | FORMER


def mozilla_names(folder: Path, concepts: Concepts, known: dict[str, str]) -> dict[str, str]:
    """Firefox OS writes Unicode's own names without spaces, shortens them, or invents."""
    found: dict[str, str] = {}
    entries = {bare(entry["unified"]): entry for entry in Package(folder, STYLES["google"]).json("emoji.json")}
    for sequence in concepts.sequences:
        names = [entries[sequence]["name"] or "", *entries[sequence]["short_names"]]
        if "-" not in sequence:
            names.append(unicodedata.name(chr(int(sequence, 16)), ""))
        for name in names:
            found.setdefault(re.sub("[^a-z0-9]", "", name.lower()), sequence)
    for name, sequence in known.items():
        found.setdefault(name.replace("-", ""), sequence)
    return found | MOZILLA


def svg_icons(folder: Path, style: Style, find: Callable[[str], str | None]) -> Iterator[tuple[str, str]]:
    """(sequence, SVG) of an icon set; `find` says what an icon's name means. An icon's own name goes before an alias."""
    icons = Package(folder, style).json("icons.json")
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
                sys.exit(f"{style.package}: {name}: cannot draw {alias}")
            turn = "matrix(-1 0 0 1 {right} 0)" if alias.get("hFlip") else turn
            name = alias["parent"]
        icon |= icons["icons"][name]
        left, top, width, height = icon.get("left", 0), icon.get("top", 0), icon.get("width", 16), icon.get("height", 16)
        body = f'<g transform="{turn.format(right=2 * left + width)}">{icon["body"]}</g>' if turn else icon["body"]
        side = max(width, height)
        box = f"{left - (side - width) / 2:g} {top - (side - height) / 2:g} {side} {side}"
        yield sequence, (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{side}" height="{side}" viewBox="{box}">{body}</svg>'
        )


def render(svg: str) -> PIL.Image.Image:
    """RGBA, `SIZE` pixels square, the drawing centred; averaged down from a larger rendering."""
    large = SIZE * OVERSAMPLING
    png = resvg_py.svg_to_bytes(svg_string=svg, width=large, skip_system_fonts=True)
    picture = PIL.Image.open(io.BytesIO(png)).convert("RGBA")
    if picture.width != picture.height:
        sys.exit(f"a drawing is not square: {svg[:200]}")
    return picture.resize((SIZE, SIZE), PIL.Image.Resampling.BOX)


def pictures(folder: Path, key: str, concepts: Concepts) -> Iterator[tuple[str, PIL.Image.Image]]:
    """(sequence, picture) of one style, each concept at most once."""
    style, known = STYLES[key], known_names(folder, concepts)
    if key in ("google", "twitter"):
        package = Package(folder, style)
        for entry in package.json("emoji.json"):
            if entry[f"has_img_{key}"]:
                png = package.files[f"img/{key}/64/{entry['image']}"]
                yield bare(entry["unified"]), PIL.Image.open(io.BytesIO(png)).convert("RGBA")
        return
    if key == "openmoji":
        package = Package(folder, style)
        drawn = {bare(Path(name).stem): name for name in package.files if re.match(r"color/svg/[^/]+\.svg$", name)}
        icons = ((s, package.files[drawn[s]].decode()) for s in concepts.sequences if s in drawn)
    elif key == "fxemoji":
        icons = svg_icons(folder, style, mozilla_names(folder, concepts, known).get)
    elif key == "streamline":
        # Several drawings of one concept are numbered; the first is taken.
        names = known | STREAMLINE
        icons = svg_icons(folder, style, lambda name: names.get(re.sub(r"-\d$", "", name)))
    else:
        icons = svg_icons(folder, style, lambda name: known.get(name.replace("flag-for-flag-", "flag-for-")))
    for sequence, svg in icons:
        yield sequence, render(svg)


def encode(picture: PIL.Image.Image, quality: int) -> bytes:
    """WebP with alpha; without loss where that is no larger."""
    lossy, lossless = io.BytesIO(), io.BytesIO()
    picture.save(lossy, "WEBP", quality=quality, alpha_quality=quality, method=6)
    picture.save(lossless, "WEBP", lossless=True, quality=75, method=4)
    return min(lossless.getvalue(), lossy.getvalue(), key=len)


def build(folder: Path) -> None:
    """Write every shard, the concepts, the manifest and the attribution."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    concepts = read_concepts(folder)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as file:
        file.write(json.dumps(vars(concepts), ensure_ascii=False, separators=(",", ":")).encode())
    (OUTPUT / "concepts.json.gz").write_bytes(packed.getvalue())
    counts: dict[str, int] = {}
    for key, style in STYLES.items():
        files = sorted((f"{sequence}.webp", encode(p, style.quality)) for sequence, p in pictures(folder, key, concepts))
        with zipfile.ZipFile(OUTPUT / f"{key}.zip", "w", zipfile.ZIP_STORED) as shard:
            for name, data in files:
                shard.writestr(zipfile.ZipInfo(name), data)
        counts[key] = len(files)
        print(f"{key:12} {len(files):5} images {(OUTPUT / f'{key}.zip').stat().st_size / 1e6:6.2f} MB", flush=True)
    made = {"pillow": PIL.__version__, "webp": PIL.features.version("webp"), "resvg": resvg_py.__version__}
    hashes = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(OUTPUT.glob("*.[zg]*"))}
    manifest = {"made_with": made, "images": counts, "sha256": hashes}
    (OUTPUT / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    build(parser.parse_args().folder)
