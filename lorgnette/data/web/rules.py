"""M3W's rules (Alayrac et al. 2022, arXiv:2204.14198, appendix on the data): which pictures and pages are kept."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import PIL.Image

from lorgnette.document import Image
from lorgnette.errors import ConfigError, DataError

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Rules:
    """What is left out; the defaults are the paper's. How many pictures are seen at once is the window's business.

    Args:
        smallest: pixels on the shorter side, below which a picture is dropped.
        aspect: longer side over shorter, above which it is dropped.
        single_colour: keep pictures that are of one colour throughout.
        pictures: pages left with fewer are dropped.
    """

    smallest: int = 64
    aspect: float = 3.0
    single_colour: bool = False
    pictures: int = 1

    def __post_init__(self) -> None:
        for name in ("smallest", "aspect", "pictures"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{getattr(self, name)} is less than 1", where="rules", field=name)

    def against(self, image: Image) -> tuple[str, str]:
        """Why the picture is dropped ("" where it is kept), and what is wrong with one that cannot be read."""
        try:
            picture = image.open()
        except DataError as error:
            return UNREADABLE, str(error)
        return self.of(picture), ""

    def of(self, picture: PIL.Image.Image) -> str:
        """Why a decoded picture is dropped; "" where it is kept."""
        return self.by(picture.size, picture.getcolors(1) is not None)

    def by(self, size: tuple[int, int], single_colour: bool) -> str:
        """The same by what is known of it."""
        short, long = sorted(size)
        small, narrow, *flat = self.reasons
        if short < self.smallest:
            return small
        if long > self.aspect * short:
            return narrow
        return flat[0] if flat and single_colour else ""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why a decoded picture may be dropped, in the order in which it is tried."""
        sizes = f"smaller than {self.smallest} pixels", f"longer than {self.aspect:g} times its width"
        return sizes if self.single_colour else (*sizes, "of a single colour")


@dataclass(frozen=True)
class Report:
    """What became of pages and pictures. A picture counts as often as pages name it.

    Args:
        pages: in all.
        kept: pages that are kept, and `several`, those of them with two pictures or more.
        pictures: that pages name, in all; `shown`, those that kept pages show.
        dropped_pages, dropped_pictures: how many for which reason. What a dropped page showed counts as its own reason.
        examples: for a reason, the first page or picture dropped for it, and what was wrong with it.
        characters: of text on kept pages.
        clusters: groups of kept pages that share pictures, and `largest`, the pages in the largest.
    """

    pages: int
    kept: int
    several: int
    pictures: int
    shown: int
    dropped_pages: Mapping[str, int]
    dropped_pictures: Mapping[str, int]
    examples: Mapping[str, str]
    characters: int
    clusters: int
    largest: int

    def __str__(self) -> str:
        def listed(dropped: Mapping[str, int]) -> list[str]:
            return [
                f"  {count:,} {reason}, such as {self.examples[reason]}"
                for reason, count in Counter(dropped).most_common()
            ]

        return "\n".join(
            [
                f"{self.kept:,} of {self.pages:,} pages ({self.several:,} with two pictures or more), "
                f"{self.shown:,} of {self.pictures:,} pictures, {self.characters:,} characters, "
                f"{self.clusters:,} clusters (the largest of {self.largest:,} pages)",
                *(["pages dropped:", *listed(self.dropped_pages)] if self.dropped_pages else []),
                *(["pictures dropped:", *listed(self.dropped_pictures)] if self.dropped_pictures else []),
            ]
        )
