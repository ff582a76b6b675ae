"""The paper's sizes, counted: what is ours beside Table 1 and Table 13."""

from functools import cache

import pytest

from lorgnette.cli import main
from lorgnette.errors import ConfigError
from lorgnette.systems.flamingo_sizes import SIZES, sized

built = cache(sized)
WITHIN = {"vision": 0.01, "connector": 0.01, "fusion": 0.2, "language": 0.16}
"""Table 1 rounds, differs from the paper's text, and counts Chinchilla's maps of relative positions."""


@pytest.mark.parametrize("name", SIZES)
def test_sizes_have_the_papers_parameters(name: str) -> None:
    system = built(name)
    assert {parameter.device.type for parameter in system.parameters()} == {"meta"}
    for part, paper in SIZES[name].paper.items():
        ours = sum(parameter.numel() for parameter in getattr(system, part).parameters())
        assert ours == pytest.approx(paper, rel=WITHIN[part]), part
    assert len(system.fusion.layers) == {"3B": 24, "9B": 10, "80B": 12}[name]


@pytest.mark.parametrize("name", SIZES)
def test_what_learns_is_what_table_13_says(name: str) -> None:
    """Counted by hand from the table's columns: layers, width, heads of 128, a feed-forward part four times as wide."""
    size, system = SIZES[name], built(name)
    width, inner, seen = size.width, 128 * size.heads, 1536
    ffn = 2 * width + 2 * 4 * width * width
    gated = 2 * width + 2 * seen + (width + 2 * seen) * inner + inner * width + ffn + 2
    assert sum(p.numel() for p in system.fusion.parameters()) == len(range(0, size.blocks, size.every)) * gated
    inner, eyes = 16 * 128, system.vision.width
    layer = 2 * seen + 2 * seen + 3 * seen * inner + inner * seen + 2 * seen + 2 * 4 * seen * seen
    outside = 64 * seen + 8 * seen + eyes * seen + 2 * seen  # latents, times, projection, the last norm
    assert sum(p.numel() for p in system.connector.parameters()) == 6 * layer + outside


def test_a_plan_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "flamingo.3B", "--devices", "8"])
    told = capsys.readouterr().out
    assert "Flamingo-3B" in told
    rows = {line.split()[0]: line.split()[1:] for line in told.splitlines() if line.strip()}
    # 24 layers with a norm, 2048 x 2048 queries and outputs, keys and values of 1536 and two maps to 4 x 2048
    learnt = 24 * (2 * 2 * 2048 + 2 * 1536 + 2 * 2048 * 2048 + 2 * 1536 * 2048 + 8 * 2048 * 2048 + 2)
    assert rows["fusion"][:3] == [f"{learnt / 1e9:.2f}B", "0", "1.2B"]
    assert rows["vision"][:3] == ["0", "435M", "435M"]
    gib = 4 * learnt / 2**30
    assert rows["fusion"][3:9:2] == [f"{gib:.2f}", f"{gib:.2f}", f"{2 * gib:.2f}"], "weights, gradients, moments"
    forward, backward = (float(rows["fusion"][k].rstrip("B")) for k in (9, 10))
    assert forward * 1e9 > 2 * (learnt - 24 * 2 * 1536 * 2048), "of a text position: all but keys and values"
    assert backward == pytest.approx(2 * forward, rel=0.01), "inputs and weights"
    assert "It fits" in told


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="Known: 3B, 9B, 80B"):
        sized("7B")
