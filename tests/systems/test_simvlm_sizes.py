"""SimVLM's sizes, counted without memory; and what a plan says it costs against what torch counts."""

import pytest
import torch
from simvlm_made import made, picture
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lorgnette.cli import main
from lorgnette.document import Document, Text
from lorgnette.errors import ConfigError
from lorgnette.flops import works
from lorgnette.objectives.language_modelling import LanguageModelling
from lorgnette.plan import Machine
from lorgnette.planning import of_run
from lorgnette.policy import Learn
from lorgnette.run import Run, Stream
from lorgnette.systems.simvlm_sizes import PAPER, SIZES, sized


@pytest.mark.parametrize("name", SIZES)
def test_a_size_is_counted_without_memory(name: str) -> None:
    system = sized(name)
    assert {parameter.device.type for parameter in system.parameters()} == {"meta"}
    assert (system.language.vocab_size, system.language.context) == (32_000, 256)
    if name in PAPER:
        # The paper's number is that of a ViT of this shape: the blocks of one stack, without embeddings and biases.
        blocks = sum(p.numel() for key, p in system.language.encoder.named_parameters() if not key.endswith("table"))
        assert blocks == pytest.approx(PAPER[name], rel=0.02)


@pytest.mark.parametrize("stack", ["encoder-decoder", "prefix-lm"])
def test_the_plans_flops_are_torchs(stack: str) -> None:
    system = made(stack=stack, stages=0, size=32, width=64)
    words = 16
    batch = system.layout([Document((picture(0), Text("x" * words), Text("y" * words, 1.0), Text("")))])
    found = works(
        {"language": system.language, "vision": system.vision, "connector": system.connector}, tokens=32, images=1
    )
    said = sum(work.forward for work in found.values())
    with torch.no_grad(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        hidden = system(batch)
        system.language.head(hidden[:, -words - 1 : -1])
    assert said == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_a_plan_that_looks_at_the_data_counts_words_alone() -> None:
    """Patches come from the pictures."""
    system = made(stack="encoder-decoder", stages=0, size=32, width=64)
    told = [Document((picture(0), Text("x" * 16), Text("y" * 16, 1.0), Text("")))]
    run = Run(
        system="simvlm",
        arguments={},
        model=lambda: system,
        data={"pairs": Stream(told, batch=1)},
        objectives={"pairs": LanguageModelling()},
        policy={"*": Learn(0.1)},
        steps=1,
    )
    found, _ = of_run(run, Machine(80.0)).streams["pairs"]
    assert (found.tokens, found.images) == (32, 1)


def test_a_plan_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "simvlm.base"])
    told = capsys.readouterr().out
    assert "SimVLM-base" in told
    assert "86M" in told
    main(["plan", "flamingo.3B"])
    assert "Flamingo-3B" in capsys.readouterr().out


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="Known: tiny, small, base, large, huge"):
        sized("giant")
