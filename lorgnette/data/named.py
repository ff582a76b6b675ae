"""Training, validation and test documents by what a user calls them: an embedded set, or a path."""

from lorgnette.data.check import check
from lorgnette.data.easy_vqa import EasyVQA
from lorgnette.data.emoji import TEST_STYLES, VALIDATION_STYLES, Emoji
from lorgnette.data.files import open_pictures
from lorgnette.data.source import Source, Subset
from lorgnette.data.split import split
from lorgnette.data.stamps import Stamps


def open_data(name: str, *, seed: int = 0) -> tuple[Source, Source, Source]:
    """Training, validation and test documents; the same division wherever the same name and seed are given.

    Args:
        name: "emoji" (validated and tested on the styles kept for it), "easy-vqa" (its official test part; a tenth of
            the training pictures validates), "stamps" (where its Debian package is there), or a table or folder of your
            own pictures. Of the last two a tenth each validates and tests, duplicates kept together.
        seed: of the division.

    Raises:
        DataError, ConfigError, ResourceError: as the readers say.
    """
    if name == "emoji":
        return Emoji(), Emoji(VALIDATION_STYLES), Emoji(TEST_STYLES[:1])
    if name == "easy-vqa":
        asked = EasyVQA("train")
        parts_of: tuple[list[int], list[int]] = ([], [])
        for i, (_, _, picture) in enumerate(asked.questions):
            parts_of[picture % 10 == 0].append(i)
        return Subset(asked, parts_of[0]), Subset(asked, parts_of[1]), EasyVQA("test")
    source: Source = Stamps() if name == "stamps" else open_pictures(name)
    parts = split(source, check(source).clusters, test=0.1, validation=0.1, seed=seed)
    return parts.train, parts.validation, parts.test
