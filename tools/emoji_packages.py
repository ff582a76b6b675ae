"""The npm packages that the embedded emoji are made of: pinned, with author and licence. Read by `build_emoji.py`.

Only sets with a free licence stand here. The images of Apple, Facebook and JoyPixels are not free and are never used.
"""

import hashlib
import json
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

APACHE = "Apache-2.0 (https://www.apache.org/licenses/LICENSE-2.0)"
BY = "CC-BY-4.0 (https://creativecommons.org/licenses/by/4.0/)"
BY_SA = "CC-BY-SA-4.0 (https://creativecommons.org/licenses/by-sa/4.0/)"
MOZILLA = f"{BY}: so Mozilla's LICENSE.md for the visual design; the package names the licence of the code"
MIT = "MIT (text below)"
UNICODE = "Unicode-3.0 (text below)"
MIT_TEXT = """\
Copyright (c) Microsoft Corporation. (Fluent Emoji)
Copyright (c) 2013 Cal Henderson (emoji-datasource)

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


@dataclass(frozen=True)
class Package:
    """One npm tarball: what is in it, whose that is, and under which licence."""

    name: str
    version: str
    sha256: str
    title: str
    author: str
    licence: str

    @property
    def tarball(self) -> str:
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


STYLES = {
    "google": Package(
        "emoji-datasource-google",
        "16.0.0",
        "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
        "Noto Emoji",
        "Google",
        APACHE,
    ),
    "twitter": Package(
        "emoji-datasource-twitter",
        "16.0.0",
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
        "Twemoji",
        "Twitter, Inc and other contributors",
        BY,
    ),
    "noto-v1": Package(
        "@iconify-json/noto-v1",
        "1.2.5",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        "Noto Emoji (v1)",
        "Google Inc",
        APACHE,
    ),
    "fxemoji": Package(
        "@iconify-json/fxemoji",
        "1.2.2",
        "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
        "Firefox OS Emoji",
        "Mozilla",
        MOZILLA,
    ),
    "fluent": Package(
        "@iconify-json/fluent-emoji",
        "1.2.7",
        "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
        "Fluent Emoji",
        "Microsoft Corporation",
        MIT,
    ),
    "fluent-flat": Package(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        "Fluent Emoji Flat",
        "Microsoft Corporation",
        MIT,
    ),
    "streamline": Package(
        "@iconify-json/streamline-emojis",
        "1.2.4",
        "5dac87c876b322500989828c5823143e0100d78881627a2e4081a4b897cbfdbc",
        "Streamline Emojis",
        "Streamline",
        BY,
    ),
    "openmoji": Package(
        "openmoji",
        "17.0.0",
        "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68",
        "OpenMoji",
        "OpenMoji, HfG Schwäbisch Gmünd",
        BY_SA,
    ),
    "emojione": Package(
        "@iconify-json/emojione",
        "1.2.3",
        "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        "Emoji One (v2)",
        "Emoji One",
        BY,
    ),
    "emojione-v1": Package(
        "@iconify-json/emojione-v1",
        "1.2.3",
        "6641d59d48a42823fdc2b84e7427e9f302944eb98d2c7d94d6e67c139e7b37b3",
        "Emoji One (v1)",
        "Emoji One",
        BY_SA,
    ),
}
NAMES = (
    Package(
        "cldr-annotations-full",
        "48.2.0",
        "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1",
        "CLDR annotations",
        "Unicode, Inc.",
        UNICODE,
    ),
    Package(
        "cldr-annotations-derived-full",
        "48.2.0",
        "4be946ff5815f806ec78b50363d577a769f2fbfb90c6380a44e161a92436996e",
        "CLDR annotations",
        "Unicode, Inc.",
        UNICODE,
    ),
)


@dataclass(frozen=True)
class Sources:
    """The tarballs in a folder."""

    folder: Path

    def fetch(self) -> None:
        """`npm pack` what is missing, then check everything against the pinned SHA-256."""
        for package in (*STYLES.values(), *NAMES):
            path = self.folder / package.tarball
            if not path.exists():
                command = ["npm", "pack", f"{package.name}@{package.version}", "--pack-destination", str(self.folder)]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def check(self) -> None:
        for package in (*STYLES.values(), *NAMES):
            path = self.folder / package.tarball
            if not path.exists():
                sys.exit(f"{path} is missing: run again with --fetch")
            if hashlib.sha256(path.read_bytes()).hexdigest() != package.sha256:
                sys.exit(f"{path} is not the file this script was written for")

    @cache  # noqa: B019 - one object for the life of the script
    def files(self, package: Package) -> dict[str, bytes]:
        """The files by their path in the package, without the sprite sheets."""
        with tarfile.open(self.folder / package.tarball) as tar:
            members = [m for m in tar.getmembers() if m.isfile() and "/sheets" not in m.name]
            return {m.name.removeprefix("package/"): file.read() for m in members if (file := tar.extractfile(m))}

    def json(self, package: Package, name: str) -> Any:
        return json.loads(self.files(package)[name])
