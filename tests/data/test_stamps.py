"""The stamps reader, on a folder laid out as the Debian package is, and on the package where it is installed."""

import pickle

import PIL.Image
import pytest

from lorgnette.data.stamps import INSTALLED, Stamps
from lorgnette.errors import ConfigError, DataError, ResourceError


@pytest.fixture
def folder(tmp_path):
    stamps = {
        "animals/amphibians/frog": "A frog.\naf.utf8='n Padda.\nde.utf8=Ein Frosch.\nfr.utf8=Une grenouille.\n",
        "animals/insects/cartoon/ant": "An ant.\nde.utf8=Eine Ameise.\nfr.utf8=\n",
        "symbols/alphabets/h": "The letter h.\nde.utf8=Der Buchstabe h.\n",
    }
    for name, text in stamps.items():
        path = tmp_path / f"{name}.txt"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
        PIL.Image.new("RGBA", (40, 30), (0, 200, 0, 128)).save(path.with_suffix(".png"))
        path.with_name(f"{path.stem}_desc_de.ogg").write_bytes(b"OggS")
    (tmp_path / "animals/amphibians/frog.dat").write_text("noflip\nnomirror\nscale=15%\n")
    (tmp_path / "animals/amphibians/toad.txt").write_text("A toad.\nes.utf8=Un sapo.\n")
    (tmp_path / "animals/amphibians/toad.svg").write_text("<svg/>")
    return tmp_path


def test_documents(folder):
    frog, ant = Stamps(folder)
    assert (frog.key, ant.key) == ("stamps/animals/amphibians/frog", "stamps/animals/insects/cartoon/ant")
    assert frog.text == "A frog."
    assert frog.parts[1].weight == 1.0
    assert frog.meta == {
        "category": "animals",
        "subcategory": "amphibians",
        "cartoon": False,
        "mirror": False,
        "locale": "en",
    }
    assert ant.meta["cartoon"]
    assert ant.meta["mirror"]
    assert ant.meta["subcategory"] == "insects/cartoon"
    assert frog.images[0].open().getpixel((3, 3)) == (127, 227, 127)


def test_languages(folder):
    assert [d.text for d in Stamps(folder, "de")] == ["Ein Frosch.", "Eine Ameise."]
    assert [d.text for d in Stamps(folder, "fr")] == ["Une grenouille."]
    with pytest.raises(ConfigError, match=r"no stamp has a sentence in 'es'\. There are: af, de, en, fr\."):
        Stamps(folder, "es")


def test_symbols_if_asked_for(folder):
    assert len(Stamps(folder, leave_out=())) == 3


def test_pickling(folder):
    source = Stamps(folder)
    assert [d.key for d in pickle.loads(pickle.dumps(source))] == [d.key for d in source]


def test_not_installed(tmp_path):
    with pytest.raises(ResourceError, match="tuxpaint-stamps-default"):
        Stamps(tmp_path / "nothing")


@pytest.mark.parametrize(("content", "problem"), [(b"", "no sentence"), (b"Caf\xe9\n", "not UTF-8")])
def test_broken_text(folder, content, problem):
    (folder / "animals/amphibians/frog.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"frog\.txt: .*{problem}"):
        Stamps(folder)


@pytest.mark.skipif(not INSTALLED.is_dir(), reason="tuxpaint-stamps-default is not installed")
def test_installed_package():
    source = Stamps()
    assert len(source) > 500
    assert len({document.key for document in source}) == len(source)
    assert {document.meta["category"] for document in source} >= {"animals", "food", "vehicles"}
    for i in range(0, len(source), 40):
        assert min(source[i].images[0].open().size) > 10
    assert len(Stamps(locale="de")) > 0.98 * len(source)
