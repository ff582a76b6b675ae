"""HTML to text and pictures in the order of the page.

| element | becomes |
|---|---|
| text | text; runs of white space are one space |
| blocks (paragraphs, headings, items, captions, rows, ...), `br` | text between line breaks |
| `pre` | text with its own line breaks |
| `img` | a picture; its `alt` is no text |
| `main`, or an element of role main, where there is one | all that is read of the page |
| scripts, styles, forms, navigation, asides, embedded drawings and frames | nothing |
| `header` and `footer` outside an article, main or section; what is hidden | nothing |
| what has a word of `BOILERPLATE` as class or id, or a role of `_ROLES` | nothing |
"""

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from lorgnette.data.web.page import EMBEDDED, REMOTE, Assembler, Left
from lorgnette.document import Image, Part
from lorgnette.errors import DataError, ResourceError

BOILERPLATE = frozenset(
    [
        "navheader",
        "navfooter",
        "nav",
        "navbar",
        "navigation",
        "menu",
        "sidebar",
        "breadcrumb",
        "breadcrumbs",
        "toc",
        "cookie-banner",
    ]
)
_ROLES = frozenset(["navigation", "banner", "contentinfo", "search", "complementary", "menu", "menubar", "dialog"])
_SKIPPED = frozenset(
    [
        "script",
        "style",
        "noscript",
        "template",
        "nav",
        "aside",
        "form",
        "button",
        "select",
        "textarea",
        "iframe",
        "object",
        "embed",
        "svg",
        "math",
        "canvas",
        "audio",
        "video",
        "head",
    ]
)
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "dialog",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hgroup",
        "hr",
        "html",
        "legend",
        "li",
        "main",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "tr",
        "ul",
    ]
)
_CELLS = frozenset(("td", "th"))
_SPACE = re.compile(r"[ \t\n\r\f\v\xa0]+")


class Marked(NamedTuple):
    """What was read of a page."""

    parts: tuple[Part, ...]
    title: str
    language: str
    url: str
    left: tuple[Left, ...]


def read_html(markup: bytes, find: Callable[[str], Image | Left], where: object) -> Marked:
    """The text and pictures of a page.

    Args:
        markup: UTF-8, or what the page itself declares.
        find: gives the picture of a `src`, or says why there is none.
        where: the file, for messages.

    Raises:
        DataError: there is no HTML in it.
        ResourceError: lxml is not installed.
    """
    try:
        html = import_module("lxml.html")
        etree = import_module("lxml.etree")
    except ModuleNotFoundError:
        fix = "Install it: pip install 'lorgnette[web]'."
        raise ResourceError("not installed", where="the package lxml", fix=fix) from None
    # No network, no entities of its own: what is parsed may be anyone's. Comments would cut texts in two.
    declared = {} if not _is_utf8(markup) else {"encoding": "utf-8"}
    parser = html.HTMLParser(no_network=True, remove_comments=True, remove_pis=True, **declared)
    try:
        tree = html.document_fromstring(markup, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError) as error:
        raise DataError(f"no HTML ({error})", where=where, fix="Save the page again, or leave it out.") from None
    walk = _Walk(find)
    mains = tree.xpath("//main | //*[@role='main']")
    for top in [one for one in mains if not any(up in mains for up in one.iterancestors())] or [tree]:
        walk.read(top, etree.iterwalk(top, events=("start", "end")))
        walk.out.gap("\n")
    title = _SPACE.sub(" ", tree.findtext(".//title") or "").strip()
    language = (
        tree.get("lang") or tree.get("{http://www.w3.org/XML/1998/namespace}lang") or tree.get("xml:lang") or ""
    ).strip()
    url = next(iter(tree.xpath("//link[@rel='canonical']/@href")), "")
    return Marked(walk.out.parts(), title, language, str(url), tuple(walk.left))


class _Walk:
    """A walk over the elements in document order, without recursion: pages of strangers nest as deep as they like."""

    def __init__(self, find: Callable[[str], Image | Left]) -> None:
        self.find, self.out = find, Assembler()
        self.left: list[Left] = []
        self.verbatim = 0
        self.skipped: Any = None

    def read(self, top: Any, events: Any) -> None:
        for event, element in events:
            if event == "start":
                self.enter(element, events)
            else:
                self.leave(element)
                if element is not top:
                    self.write(element.tail)

    def enter(self, element: Any, events: Any) -> None:
        if _skipped(element):
            self.skipped = element
            events.skip_subtree()
            return
        if element.tag == "img":
            self.picture(element.get("src"))
        elif element.tag == "br" or element.tag in _BLOCKS:
            self.out.gap("\n")
        self.verbatim += element.tag == "pre"
        self.write(element.text)

    def leave(self, element: Any) -> None:
        if element is self.skipped:
            return
        self.verbatim -= element.tag == "pre"
        if element.tag in _BLOCKS:
            self.out.gap("\n")
        elif element.tag in _CELLS:
            self.out.gap(" ")

    def write(self, text: str | None) -> None:
        for number, line in enumerate((text or "").split("\n") if self.verbatim else [text or ""]):
            if number:
                self.out.gap("\n")
            if self.verbatim:
                self.out.text(line)
                continue
            words = _SPACE.sub(" ", line)
            if words.startswith(" "):
                self.out.gap(" ")
            self.out.text(words.strip(" "))
            if words.endswith(" "):
                self.out.gap(" ")

    def picture(self, source: str | None) -> None:
        source = (source or "").strip()
        if not source or source.startswith("data:"):
            found: Image | Left = Left(source[:40] or "an img without src", EMBEDDED)
        elif re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|//", source):
            found = Left(source, REMOTE)
        else:
            found = self.find(source)
        if isinstance(found, Image):
            self.out.picture(found)
        else:
            self.left.append(found)


def _skipped(element: Any) -> bool:
    if element.tag in _SKIPPED or element.get("role") in _ROLES:
        return True
    if element.get("hidden") is not None or element.get("aria-hidden") == "true":
        return True
    if element.tag in ("header", "footer"):
        return not any(up.tag in ("article", "main", "section") for up in element.iterancestors())
    named = element.get("class"), element.get("id")
    return any(words and not BOILERPLATE.isdisjoint(words.lower().split()) for words in named)


def _is_utf8(markup: bytes) -> bool:
    try:
        markup.decode()
    except UnicodeDecodeError:
        return False
    return True
