"""Pictures by the names that pages give them: inside one folder, and nowhere else."""

import re
from dataclasses import dataclass
from pathlib import Path

from lorgnette.data.folders import SUFFIXES
from lorgnette.data.web.page import FORMAT, MISSING, OUTSIDE, REMOTE, Left
from lorgnette.document import Image

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:|//")


@dataclass(frozen=True)
class Inside:
    """The pictures below one folder. Links are followed, and must lead to a place inside it as well.

    Args:
        root: the folder.
    """

    root: Path

    def find(self, name: str, start: Path | None = None) -> Image | Left:
        """The picture called `name`, seen from the folder `start` (the root by default), or why there is none.

        Nothing is fetched. The picture is not opened.
        """
        if _SCHEME.match(name):
            return Left(name, REMOTE)
        if not name or "\0" in name or name.startswith(("/", "\\")):
            return Left(name, OUTSIDE)
        root = self.root.resolve()
        path = ((start or self.root) / name).resolve()
        if not path.is_relative_to(root):
            return Left(name, OUTSIDE)
        if path.suffix.lower() not in SUFFIXES and path.suffix:
            return Left(name, FORMAT)
        return Image(path) if path.is_file() else Left(name, MISSING)
