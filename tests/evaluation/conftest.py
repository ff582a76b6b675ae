"""Small pictures: coloured shapes by several hands, each concept in a colour and pattern of its own."""

from collections.abc import Sequence

import numpy as np
import pytest

from lorgnette.document import Document, Image, Text

FAMILIES = ("animal-bird", "animal-mammal", "food-fruit", "tool", "clothing")
COUNTRIES = ("FR", "JP", "KE", "BR", "AU", "CA", "DE", "IN", "EG", "PE", "NZ", "MX", "SE", "TH", "NG", "CL", "FJ", "CU")


def drawing(concept: int, hand: int) -> Image:
    """A pattern that the concept fixes, with noise that the hand adds."""
    base = np.random.default_rng(concept).integers(0, 255, (6, 6, 3)).repeat(4, 0).repeat(4, 1)
    noise = np.random.default_rng(1000 + 100 * concept + hand).normal(0, 12, base.shape)
    return Image(np.clip(base + noise, 0, 255).astype(np.uint8))


def drawn(concept: int, hand: int) -> Document:
    name = f"thing {concept}"
    meta = {
        "hand": f"hand{hand}",
        "style": f"hand{hand}",
        "concept": f"c{concept}",
        "cluster": f"c{concept}",
        "name": name,
        "subcategory": FAMILIES[concept % len(FAMILIES)],
        "keywords": (f"word{concept}", f"shared{concept % 3}", "thing"),
        "country": COUNTRIES[concept] if concept < len(COUNTRIES) else None,
    }
    return Document((drawing(concept, hand), Text(name, weight=1.0)), key=f"hand{hand}/c{concept}", meta=meta)


def pictures(concepts: Sequence[int], hands: Sequence[int]) -> list[Document]:
    return [drawn(concept, hand) for hand in hands for concept in concepts]


@pytest.fixture(scope="session")
def pool() -> list[Document]:
    """30 concepts, 6 to a family, by four hands."""
    return pictures(range(30), range(4))


@pytest.fixture(scope="session")
def queries() -> list[Document]:
    """The same concepts by a fifth hand."""
    return pictures(range(30), [4])
