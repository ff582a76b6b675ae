"""M3W's rules: what is dropped is dropped for the reason that the report gives, and the rest is as it was."""

import io
from pathlib import Path

import PIL.Image
import pytest
from web_made import noise, plain, png, put

from lorgnette.data.web.kept import Kept
from lorgnette.data.web.page import Left, Page
from lorgnette.data.web.rules import Rules
from lorgnette.document import Document, Image, Part, Text
from lorgnette.errors import DataError


class Made:
    """Pages from a list; an error stands for a page that cannot be read."""

    def __init__(self, *pages: Page | DataError) -> None:
        self.pages = pages

    def __len__(self) -> int:
        return len(self.pages)

    def page(self, i: int, /) -> Page:
        page = self.pages[i]
        if isinstance(page, DataError):
            raise page
        return page

    def __getitem__(self, i: int, /) -> Document:
        return self.page(i).document


def page(key: str, *parts: Part | bytes | str, left: tuple[Left, ...] = (), **meta: str) -> Page:
    made = tuple(
        Image(part) if isinstance(part, bytes) else Text(part, 1.0) if isinstance(part, str) else part for part in parts
    )
    return Page(Document(made, key=key, meta=meta), left)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (noise(size=(64, 64)), ""),
        (noise(size=(63, 200)), "smaller than 64 pixels"),
        (noise(size=(210, 70)), ""),
        (noise(size=(211, 70)), "longer than 3 times its width"),
        (noise(size=(70, 211)), "longer than 3 times its width"),
        (plain(), "of a single colour"),
        (noise()[:200], "unreadable"),
        (b"<svg/>", "unreadable"),
    ],
)
def test_a_picture_is_dropped_for_its_reason(picture: bytes, reason: str) -> None:
    assert Rules().against(Image(picture))[0] == reason


def test_other_rules() -> None:
    assert Rules(smallest=71).against(Image(noise()))[0] == "smaller than 71 pixels"
    assert Rules(aspect=1.1).against(Image(noise()))[0] == "longer than 1.1 times its width"
    assert Rules(single_colour=True).against(Image(plain()))[0] == ""
    almost = PIL.Image.new("RGB", (80, 70), "red")
    almost.putpixel((3, 3), (254, 0, 0))
    assert Rules().against(Image(png(almost)))[0] == ""


def test_a_picture_with_too_many_pixels_is_unreadable_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    PIL.Image.new("1", (10_001, 10_000)).save(buffer, "PNG")
    why, wrong = Rules().against(Image(buffer.getvalue()))
    assert why == "unreadable"
    assert "the limit is 100,000,000" in wrong


def test_what_is_left_reads_on_and_everything_is_counted() -> None:
    good, other = noise(1), noise(2)
    pages = Made(
        page(
            "a", "One ", plain(), "two ", good, "three", noise(3)[:99], other, left=(Left("http://x/y.png", "remote"),)
        ),
        page("b", "No picture."),
        page("c", plain(), "All dropped."),
        page("d", good),
        page("e", "again ", good),
        *[page(f"f{i}", noise(10 + i), "x") for i in range(6)],
        DataError("no HTML", where="g.html"),
    )
    kept = Kept(pages, threads=1)
    assert [document.key for document in kept] == ["a", "e", *(f"f{i}" for i in range(6))]
    assert [p.text if isinstance(p, Text) else p.source for p in kept[0].parts] == ["One two ", good, "three", other]
    report = kept.report
    assert (report.pages, report.kept, report.several) == (12, 8, 1)
    assert (report.pictures, report.shown) == (14, 9)
    assert report.dropped_pages == {
        "unreadable": 1,
        "without pictures": 1,
        "left without pictures": 1,
        "without text": 1,
    }
    assert report.dropped_pictures == {"remote": 1, "of a single colour": 2, "unreadable": 1, "on a dropped page": 1}
    assert report.shown + sum(report.dropped_pictures.values()) == report.pictures
    assert report.examples["remote"] == "a: http://x/y.png"
    assert "8 of 12 pages (1 with two pictures or more), 9 of 14 pictures" in str(report)
    assert "2 of a single colour, such as a: " in str(report)


def test_pages_that_share_a_picture_are_one_cluster_and_so_are_editions() -> None:
    shared = noise(1)
    kept = Kept(
        Made(
            page("a", shared, "x"),
            page("b", noise(2), "x"),
            page("c", noise(3), "x", shared),
            page("en/d", noise(4), "x", cluster="d"),
            page("de/d", noise(5), "x", cluster="d"),
            page("e", plain(), noise(6), "x"),
            page("f", plain(), noise(7), "x"),
        )
    )
    assert [document.meta["cluster"] for document in kept] == ["a", "b", "a", "en/d", "en/d", "e", "f"]
    assert (kept.report.clusters, kept.report.largest) == (5, 2)


def test_a_whole_that_is_of_no_use_is_refused() -> None:
    with pytest.raises(DataError, match=r"^b: no page is left: 2 without pictures"):
        Kept(Made(page("b", "x"), page("c", "y")))
    broken = [DataError("no HTML", where=f"{i}.html") for i in range(2)]
    with pytest.raises(DataError, match=r"2 of 3 pages cannot be read, more than 10%: 0\.html: no HTML"):
        Kept(Made(page("a", noise(), "x"), *broken))


def test_paths_are_named_in_the_report(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": noise(), "b.png": b"torn"})
    parts = (Image(tmp_path / "a.png"), Text("x", 1.0), Image(tmp_path / "b.png"))
    report = Kept(Made(Page(Document(parts, key="p")))).report
    assert str(tmp_path / "b.png") in report.examples["unreadable"]
