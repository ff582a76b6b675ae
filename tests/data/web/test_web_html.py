"""Saved HTML pages: what is text, what is a picture, and what a page may not reach."""

import os
from pathlib import Path

import pytest
from web_made import noise, put

pytest.importorskip("lxml")

from lorgnette.data.web.kept import Kept
from lorgnette.data.web.markup import read_html
from lorgnette.data.web.page import Left
from lorgnette.data.web.site import MAX_BYTES, Site
from lorgnette.document import Image, Text
from lorgnette.errors import DataError


def read(markup: str | bytes) -> list[str]:
    """The parts, a picture as `<its name>`, and after them what was left, as `-name: reason`."""
    data = markup if isinstance(markup, bytes) else markup.encode()
    marked = read_html(data, lambda name: Image(name), "page.html")
    shown = [part.text if isinstance(part, Text) else f"<{part.source}>" for part in marked.parts]
    assert all(part.weight == 1.0 for part in marked.parts if isinstance(part, Text))
    return [*shown, *(f"-{name}: {reason}" for name, reason in marked.left)]


@pytest.mark.parametrize(
    ("markup", "parts"),
    [
        ("<p>One  \n two<p>three</p><div>four<div>five</div> six</div>", ["One two\nthree\nfour\nfive\nsix"]),
        ("<p>a <b>b</b><i>c</i>, <a href=x>d</a>.</p>", ["a bc, d."]),
        ("a<br>b<hr>c", ["a\nb\nc"]),
        ("<pre>for x:\n    <b>go</b> on\n\nend</pre>after", ["for x:\n    go on\nend\nafter"]),
        ("<ul><li>a<li>b</ul><table><tr><td>c<td>d<tr><td>e</table>", ["a\nb\nc d\ne"]),
        ("a<!-- no -->b<script>no</script>c<style>no</style><noscript>no</noscript>d", ["abcd"]),
        ("&lt;tag&gt; caf&eacute;&nbsp;x", ["<tag> café x"]),
        ("<p>a<p>b<img src=1.png alt='not text'><p>c", ["a\nb", "<1.png>", "\nc"]),
        (
            "<h1>Title</h1><figure><img src=1.png><figcaption>Its caption</figcaption></figure><p>Text",
            ["Title\n", "<1.png>", "Its caption\nText"],
        ),
        ("<figure><figcaption>Above</figcaption><img src=1.png></figure>", ["Above\n", "<1.png>"]),
        ("<p>Press <img src=1.png> now, <img src=2.png>.</p>", ["Press", "<1.png>", " now,", "<2.png>", "."]),
        ("<img src=1.png><p><img src=2.png></p>", ["<1.png>", "<2.png>"]),
        ("<nav>no</nav><header>no</header><aside>no</aside>a<footer>no</footer>", ["a"]),
        ("<article><header><h1>Yes</h1></header>a</article>", ["Yes\na"]),
        ("<div class='navheader x'>no</div>a<div id=sidebar>no</div><div role=navigation>no</div>", ["a"]),
        ("<p hidden>no</p>a<span aria-hidden=true>no</span>", ["a"]),
        ("<p>no</p><main><p>yes</p></main><p>no</p><div role=main>too</div>", ["yes\ntoo"]),
        ("<svg><text>no</text></svg>a", ["a"]),
        (
            "<img>a<img src='data:image/png;base64,iVBO'>",
            ["a", "-an img without src: no file name", "-data:image/png;base64,iVBO: no file name"],
        ),
        (
            "<img src=//x.org/a.png>a<img src='HTTPS://x.org/b.png'>",
            ["a", "-//x.org/a.png: remote", "-HTTPS://x.org/b.png: remote"],
        ),
        ("<p>unclosed <b>and <i>crossed</b> tags</i>", ["unclosed and crossed tags"]),
        ("<div>" * 3000 + "deep" + "</div>" * 3000, ["deep"]),
    ],
)
def test_parts(markup: str, parts: list[str]) -> None:
    if parts == ["deep"]:  # libxml2 cuts a tree off at a depth of its own; what matters is that nothing falls over
        assert read(markup) in (["deep"], [])
        return
    assert read(markup) == parts


def test_encodings_title_language_and_address() -> None:
    head = "<html lang=de><head><title> Ein  Titel </title><link rel=canonical href='http://x.org/a'></head>"
    marked = read_html(f"{head}<body>ä</body></html>".encode(), Image, "p")
    assert (marked.title, marked.language, marked.url) == ("Ein Titel", "de", "http://x.org/a")
    assert marked.parts == (Text("ä", 1.0),)
    assert read("<meta charset=iso-8859-1>ä".encode("latin-1")) == ["ä"]
    assert read('<?xml version="1.0" encoding="UTF-8"?><html xml:lang="fr"><body><a id="x"/>é</body></html>') == ["é"]
    assert read_html(b'<html xml:lang="fr"><body>x', Image, "p").language == "fr"


@pytest.mark.parametrize("markup", [b"", b"  \n", b"<!-- nothing -->"])
def test_no_html(markup: bytes) -> None:
    with pytest.raises(DataError, match=r"^page\.html: no HTML"):
        read_html(markup, Image, "page.html")


def test_a_folder_of_pages(tmp_path: Path) -> None:
    page = "<html lang={0}><title>T</title><p>text</p><img src='../images/a%20b.png?v=1#x'><p>caption</p>"
    put(
        tmp_path,
        {
            "en/one.html": page.format("en"),
            "de/one.html": page.format("de"),
            "de/two.htm": "<html lang=de><p>zwei",
            "images/a b.png": noise(),
            "notes.txt": "no page",
        },
    )
    source = Site(tmp_path)
    assert [document.key for document in source] == ["de/one.html", "de/two.htm", "en/one.html"]
    assert source[0].images[0].source == tmp_path.resolve() / "images" / "a b.png"
    assert source[0].meta == {"title": "T", "language": "de", "cluster": "one.html"}
    assert source[2].meta["cluster"] == "one.html"
    assert source[1].meta["cluster"] == "two.htm"
    assert len(Kept(source)) == 2


def test_a_folder_that_only_looks_like_a_language_makes_no_editions(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"js/index.html": "<html lang=en><p>one", "go/index.html": "<html lang=en><p>two", "de/x.html": "<p>x"},
    )
    assert [page.meta["cluster"] for page in Site(tmp_path)] == ["de/x.html", "go/index.html", "js/index.html"]


def test_a_page_reaches_nothing_outside_its_folder(tmp_path: Path) -> None:
    put(tmp_path, {"secret.png": noise(), "site/in.png": noise(1), "site/x.svg": "<svg/>", "site/y.avif": b"y"})
    os.symlink(tmp_path / "secret.png", tmp_path / "site" / "link.png")
    names = ["../secret.png", f"{tmp_path}/secret.png", "link.png", "%2e%2e/secret.png", "a/../../secret.png"]
    names += ["x.svg", "y.avif", "gone.png", "http://x.org/a.png", "file:///etc/passwd", "a%00b.png", "#top", "in.png"]
    put(tmp_path, {"site/sub/p.html": "<p>text" + "".join(f"<img src='../{n}'>" for n in names if ":" not in n)})
    put(tmp_path, {"site/p.html": "<p>text" + "".join(f"<img src='{n}'>" for n in names)})
    page = Site(tmp_path / "site").page(0)
    assert [image.source for image in page.document.images] == [(tmp_path / "site/in.png").resolve()]
    reasons = [reason for _, reason in page.left]
    outside, form = "outside the folder", "of a format that is not read"
    assert reasons == [outside] * 5 + [form] * 2 + ["missing", "remote", "remote", outside, outside]
    assert Left("http://x.org/a.png", "remote") in page.left
    deeper = Site(tmp_path / "site").page(1).document
    assert [image.source for image in deeper.images] == [(tmp_path / "site/in.png").resolve()]


def test_pages_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    put(tmp_path, {f"{i:02}.html": f"<img src={i}.png>text" for i in range(40) if i not in (20, 21, 22)})
    put(tmp_path, {f"{i}.png": noise(i) for i in range(40)})
    os.symlink("/etc/hostname", tmp_path / "22.html")
    put(tmp_path, {"20.html": "", "21.html": b" " * (MAX_BYTES + 1)})
    report = Kept(Site(tmp_path)).report
    assert report.dropped_pages == {"unreadable": 3}
    assert "20.html: no HTML" in report.examples["unreadable"]
    with pytest.raises(DataError, match="a page of more than 20,000,000 bytes"):
        Site(tmp_path).page(21)
    with pytest.raises(DataError, match=r"22\.html: no file, or a link out of the folder"):
        Site(tmp_path).page(22)


def test_a_folder_without_pages(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a folder without HTML pages"):
        Site(tmp_path)
