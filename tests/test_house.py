"""The house rules that a machine can check."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CODE = sorted((ROOT / "lorgnette").rglob("*.py"))


def test_files_are_short():
    lengths = {path: len(path.read_text().splitlines()) for path in CODE}
    assert {path.name: n for path, n in lengths.items() if n > 350} == {}
    assert sorted(lengths.values())[len(lengths) // 2] <= 160


def test_a_system_is_read_in_six_files_and_900_lines():
    files = ("systems/frozen.py", "connectors.py", "fusion/inline.py", "layout.py", "recipes/frozen.py", "shapes.py")
    assert sum(len((ROOT / "lorgnette" / name).read_text().splitlines()) for name in files) <= 900


def test_every_module_says_what_it_is():
    for path in CODE:
        assert path.read_text().startswith('"""'), path


def test_importing_the_library_is_quick_and_downloads_nothing():
    code = "import sys, lorgnette; assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_links_of_the_pages_lead_somewhere():
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_pins_name_no_addresses():
    for name in ("constraints.txt", "benchmarks/peers.txt"):
        for line in (ROOT / name).read_text().splitlines():
            assert re.fullmatch(r"(#.*|[\w.-]+==[\w.+!-]+)?", line), line
