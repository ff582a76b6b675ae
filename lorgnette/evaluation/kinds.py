"""What the things of a subcategory of the embedded emoji set are called in one noun."""

from lorgnette.document import Document

KINDS = {
    "animal-bird": "bird",
    "animal-bug": "insect",
    "animal-mammal": "mammal",
    "animal-marine": "sea animal",
    "animal-reptile": "reptile",
    "body-parts": "body part",
    "book-paper": "paper",
    "clothing": "clothing",
    "country-flag": "flag",
    "drink": "drink",
    "food-fruit": "fruit",
    "food-sweet": "dessert",
    "food-vegetable": "vegetable",
    "musical-instrument": "instrument",
    "place-building": "building",
    "plant-flower": "flower",
    "sky & weather": "weather",
    "tool": "tool",
    "transport-air": "aircraft",
    "transport-ground": "vehicle",
    "transport-water": "boat",
}
"""Subcategories whose members one noun covers; the others ("other-object") make no question."""


def kind(document: Document) -> str | None:
    """The noun for a document's subcategory; None where there is none."""
    return KINDS.get(str(document.meta.get("subcategory")))
