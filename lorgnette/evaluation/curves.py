"""Curves as SVG that lives inside a page and follows its colours."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_INK = "#010203"  # stands for the page's own text colour
_COLOURS = ("#3b82c4", "#d97a28", "#3f9e6e", "#b0589f", "#8a8f98", "#c2a01f")


@dataclass(frozen=True)
class Series:
    """Points `(x, y)`, with the interval of each y where it is known; `floor` draws it dashed."""

    name: str
    points: Sequence[tuple[int | float, float]]
    intervals: Sequence[tuple[float, float]] = ()
    floor: bool = False


@dataclass(frozen=True)
class Curve:
    """A small figure.

    Attributes:
        ticks: the places on the x axis where it is not a continuous quantity: shots.
        share: y is a share, drawn from 0 to 100 %.
        levels: horizontal lines by name, such as chance.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series]
    ticks: Sequence[int | float] = ()
    share: bool = False
    levels: Mapping[str, float] = field(default_factory=dict)


def svg(curve: Curve) -> str:
    """The curve as an `<svg>` element: no external reference, ink in `currentColor`."""
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": curve.title,
        "font.size": 9,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(5.2, 3.1), layout="constrained")
        axes = figure.subplots()
        scale = 100.0 if curve.share else 1.0
        for series, colour in zip(curve.series, _COLOURS * len(curve.series), strict=False):
            x = [point[0] for point in series.points]
            y = [point[1] * scale for point in series.points]
            many = len(x) > 12
            dash = "--" if series.floor else "-"
            axes.plot(
                x, y, dash, color=colour, lw=1.3 if many else 1.8, marker="" if many else "o", ms=4, label=series.name
            )
            if series.intervals:
                low, high = zip(*((a * scale, b * scale) for a, b in series.intervals), strict=True)
                axes.fill_between(x, low, high, color=colour, alpha=0.08 if series.floor else 0.18, lw=0)
        for name, level in curve.levels.items():
            axes.axhline(level * scale, color=_INK, lw=0.8, ls=":", label=name)
        axes.set_xlabel(curve.x)
        axes.set_ylabel(curve.y)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=_INK, alpha=0.12, lw=0.6)
        if curve.ticks:
            axes.set_xticks(list(curve.ticks))
        else:
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if curve.share:
            axes.set_ylim(0, 100)
        if len(curve.series) + len(curve.levels) > 1:
            axes.legend(frameon=False, fontsize=8, loc="best")
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)  # inside HTML an <svg> needs none
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)  # several figures share a page
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    return text.replace(_INK, "currentColor")
