"""The policy table: first match wins, nothing is forgotten, nothing is dead, and what is frozen sleeps."""

import pytest
import torch
from torch import nn

from lorgnette.errors import ConfigError
from lorgnette.policy import Frozen, Learn, apply, set_modes


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vision = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())
        self.connector = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.BatchNorm1d(2, affine=False))
        self.language = nn.ModuleDict({"embed": nn.Embedding(3, 2), "head": nn.Linear(2, 3, bias=False)})
        self.language["head"].weight = self.language["embed"].weight


FROZEN_BACKBONES = {"vision.*": Frozen(), "language.*": Frozen(), "*": Learn(0.1, weight_decay=0.5)}


def test_the_first_match_wins():
    model = Model()
    groups = apply({"vision.*": Frozen(), "*.bias": Learn(0.1), "*": Learn(0.2, weight_decay=0.3)}, model)
    assert [(g["rule"], g["lr"], g["base_lr"], g["weight_decay"]) for g in groups] == [
        ("*.bias", 0.1, 0.1, 0.0),
        ("*", 0.2, 0.2, 0.3),
    ]
    assert groups[0]["params"] == [model.connector[0].bias]
    assert [id(p) for p in groups[1]["params"]] == [id(model.connector[0].weight), id(model.language["embed"].weight)]
    assert not any(p.requires_grad for p in model.vision.parameters())
    torch.optim.AdamW(groups)


def test_a_second_policy_wakes_what_the_first_froze():
    model = Model()
    apply(FROZEN_BACKBONES, model)
    apply({"*": Learn(0.1)}, model)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"vision.*": Frozen(), "connector.*": Learn(0.1)}, "no rule matches language.embed.weight"),
        ({"connector.*": Learn(0.1)}, r"no rule matches vision.0.weight, vision.0.bias, .*language.embed.weight"),
        ({"fusion.*": Learn(0.1), "*": Frozen()}, r"fusion\.\*: this rule matches no parameter"),
        ({"*": Learn(0.1), "vision.*": Frozen()}, r"vision\.\*: all that this rule matches is taken by .*: \*"),
        (
            {"language.head.*": Learn(0.1), "*": Frozen()},
            r"other names of tied parameters: language.head.weight is language.embed.weight \(tied\)",
        ),
        ({"*": Frozen()}, "nothing would learn"),
    ],
)
def test_a_table_that_does_not_fit_says_where(policy, message):
    with pytest.raises(ConfigError, match=message):
        apply(policy, Model())


def test_what_learns_must_be_stored_in_full_precision():
    model = Model()
    model.connector.to(torch.bfloat16)
    with pytest.raises(ConfigError, match=r"connector.0.weight, connector.0.bias would learn"):
        apply(FROZEN_BACKBONES, model)
    apply({"connector.*": Frozen(), "*": Learn(0.1)}, model)


@pytest.mark.parametrize(("lr", "decay"), [(0.0, 0.0), (-1.0, 0.0), (float("nan"), 0.0), (0.1, -0.1)])
def test_rates_make_sense(lr, decay):
    with pytest.raises(ConfigError, match="policy"):
        Learn(lr, decay)


def test_what_is_frozen_stays_in_evaluation_mode():
    model = Model()
    apply(FROZEN_BACKBONES, model)
    set_modes(model, training=True)
    modes = {name: module.training for name, module in model.named_modules() if name}
    assert [name for name, training in modes.items() if training] == [f"connector{n}" for n in ("", ".0", ".1", ".2")]
    assert model.training
    set_modes(model, training=False)
    assert not any(module.training for module in model.modules())


def test_frozen_batch_statistics_do_not_move():
    model = Model()
    apply(FROZEN_BACKBONES, model)
    set_modes(model, training=True)
    before = model.vision[1].running_mean.clone()
    model.connector(model.vision(torch.randn(4, 2)))
    assert torch.equal(model.vision[1].running_mean, before)
    assert not torch.equal(model.connector[2].running_mean, torch.zeros(2))


def test_a_frozen_part_of_a_learning_parent_sleeps():
    model = Model()
    apply({"vision.1.*": Frozen(), "*": Learn(0.1)}, model)
    set_modes(model, training=True)
    assert [module.training for module in model.vision] == [True, False, True]
