"""Line charts and scatter plots as SVG whose colours come from the page's style sheet.

Hand-written rather than matplotlib's SVG, for three things that it does not do: colours that
change with the reader's theme, curves that a check box hides, and text that keeps its size.
The positions of the ticks are matplotlib's.
"""

import dataclasses
import math
from collections.abc import Sequence
from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator

# In the units of the viewBox, about a pixel each on a desktop, 0.8 on a phone.
WIDTH, HEIGHT = 440, 272
_TOP, _RIGHT, _BOTTOM = 12, 14, 44
_CHARACTER = 7.0  # Width of a digit at 12 units.
# Seven colours and four dashes: 28 looks before one comes again.
COLOURS, DASHES = 7, ("", "7 3", "7 3 1.5 3", "2 3")
# A curve is drawn with at most twice as many points.
_BUCKETS = 250
# Points that a cloud has at most; of more, the lowest and highest of each bucket.
_DOTS = 5000
# Markers that a line has at most.
_MARKERS = 40
# Beyond these, differences and ratios of two numbers are no longer float64's.
_LARGEST, _SMALLEST = 1e150, 1e-150
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclasses.dataclass(frozen=True)
class Series:
    """One curve or one cloud of points.

    Args:
        x: Numbers; what is not finite is left out.
        y: Numbers.
        look: Decides colour, dash and marker.
        kind: `"line"`, `"pale"` (thin and pale), `"marked"` (a line through few points) or
            `"dots"`.
        label: What the points' tooltips begin with.
        group: A class, for the check box that hides it; none by default.
    """

    x: np.ndarray
    y: np.ndarray
    look: int
    kind: str = "line"
    label: str = ""
    group: str = ""


def thin(x: np.ndarray, y: np.ndarray, buckets: int = _BUCKETS) -> tuple[np.ndarray, np.ndarray]:
    """Fewer points with the same outline: the lowest and the highest of each bucket.

    Example:

    >>> x, y = np.arange(1000.0), np.zeros(1000)
    >>> y[500] = 9.0
    >>> x, y = thin(x, y, 10)
    >>> len(x) <= 22, float(y.max())
    (True, 9.0)
    """
    if len(x) <= 2 * buckets:
        return x, y
    kept = {0, len(x) - 1}
    for part in np.array_split(np.arange(len(x)), buckets):
        values = y[part]
        if np.isfinite(values).any():
            kept |= {int(part[np.nanargmin(values)]), int(part[np.nanargmax(values)])}
        kept.add(int(part[np.argmin(np.isfinite(values))]))  # A gap stays one.
    order = sorted(kept)
    return x[order], y[order]


def power_of_ten(exponent: int) -> str:
    """As people write it: `10⁻³`."""
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


@dataclasses.dataclass(frozen=True)
class _Axis:
    """From numbers to positions, with ticks and their labels."""

    low: float
    high: float
    log: bool
    ticks: list[tuple[float, str]]
    factor: str  # As in "x 10⁻³", where the labels have been divided by it.

    def place(self, values, start: float, end: float) -> np.ndarray:
        values = np.asarray(values, "float64")
        low, high = self.low, self.high
        if self.log:
            values = np.log(np.where(values > 0, values, np.nan))
            low, high = math.log(low), math.log(high)
        return start + (values - low) / (high - low) * (end - start)


def wants_log(values: np.ndarray) -> bool:
    """Whether the values are positive and span more than a factor of ten."""
    values = values[np.isfinite(values)]
    return bool(len(values)) and values.min() > 0 and values.max() / 10 > values.min()


def _drawable(values: np.ndarray) -> np.ndarray:
    """Numbers that an axis can hold; NaN, which is left out, for those too large."""
    values = np.asarray(values, "float64")
    values = np.where(np.abs(values) < _LARGEST, values, np.nan)
    return np.where(np.abs(values) < _SMALLEST, 0.0, values)


def _axis(values, log, low=None, high=None, padding=0.04) -> _Axis:
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    bottom, top = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    bottom, top = (bottom if low is None else low), (top if high is None else max(top, high))
    if bottom == top:
        bottom, top = (bottom / 1.5, top * 1.5) if log else (bottom - 0.5, top + 0.5)
    if log:
        margin = (top / bottom) ** padding
        bottom, top = bottom / margin, top * margin
        ticks = _log_ticks(bottom, top)
        if ticks:
            return _Axis(bottom, top, True, ticks, "")
    else:
        margin = padding * (top - bottom)
        bottom, top = bottom - margin * (low is None), top + margin
    places = [t for t in _linear_ticks(bottom, top) if bottom <= t <= top]
    largest = max(abs(t) for t in places)
    exponent = math.floor(math.log10(largest)) if largest else 0
    exponent = exponent if exponent <= -3 or exponent >= 5 else 0
    # Zero may come out as -0 or 1e-17.
    labels = [f"{round(t / 10.0**exponent, 6) + 0.0:g}" for t in places]
    factor = f"× {power_of_ten(exponent)}" if exponent else ""
    return _Axis(bottom, top, log, list(zip(places, labels, strict=True)), factor)


def _linear_ticks(low: float, high: float) -> np.ndarray:
    return MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Powers of ten, with 2 and 5 between them where there is room; none if below a factor 4."""
    if high < 4 * low:
        return []
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        places = [(d, e) for e in exponents for d in digits if low <= d * 10.0**e <= high]
        if len(places) <= 6:
            break
    places = places[:: math.ceil(len(places) / 6)]
    plain = all(-3 <= e <= 4 for _, e in places)

    def label(digit, exponent):
        if plain:
            return f"{digit * 10.0**exponent:g}"
        return power_of_ten(exponent) if digit == 1 else f"{digit}·{power_of_ten(exponent)}"

    return [(d * 10.0**e, label(d, e)) for d, e in places]


def look(index: int) -> str:
    """The attributes that give a curve its colour and its dash."""
    dash = DASHES[index % len(DASHES)]
    return f'style="--c:var(--c{index % COLOURS})"' + (
        f' stroke-dasharray="{dash}"' if dash else ""
    )


def swatch(index: int, dots: bool = False) -> str:
    """What a legend shows before a name."""
    inner = f'<path class="line" {look(index)} d="M1 6H29"/>'
    if dots:
        inner = f'<path class="dots" {look(index)} d="{marker(index, 22, 6, 4.5)}"/>'
    return f'<svg class="swatch" viewBox="0 0 30 12" aria-hidden="true">{inner}</svg>'


def marker(index: int, x: float, y: float, r: float = 3.1) -> str:
    """A path around (x, y): circle, square, triangle, diamond, by look."""
    if index % 4 == 0:
        return f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z"
    if index % 4 == 1:
        s = 0.87 * r
        return f"M{x - s:.1f} {y - s:.1f}h{2 * s:.1f}v{2 * s:.1f}h{-2 * s:.1f}z"
    if index % 4 == 2:
        return f"M{x:.1f} {y - 1.2 * r:.1f}l{1.1 * r:.1f} {2 * r:.1f}h{-2.2 * r:.1f}z"
    d = 1.25 * r
    return f"M{x:.1f} {y - d:.1f}l{d:.1f} {d:.1f}l{-d:.1f} {d:.1f}l{-d:.1f} {-d:.1f}z"


def _path(xs: np.ndarray, ys: np.ndarray) -> str:
    """A polyline with a gap wherever a number is missing."""
    parts, down = [], False
    for x, y in zip(xs, ys, strict=True):
        if math.isfinite(x) and math.isfinite(y):
            parts.append(f"{'L' if down else 'M'}{x:.1f} {y:.1f}")
            down = True
        else:
            down = False
    return "".join(parts)


def chart(
    series: Sequence[Series],
    *,
    title: str,
    xlabel: str,
    ylabel: str = "",
    log_x: bool = False,
    log_y: bool = False,
    low: float | None = None,
    high: float | None = None,
    lines: dict[str, float] | None = None,
    legend: str = "",
) -> str:
    """An HTML figure with an SVG chart; empty if there is no number in it.

    What is left out of it is said beside the title.

    Args:
        series: What to draw, the last on top.
        title: Above the chart.
        xlabel: Below the axis.
        ylabel: Added to the title, where a reader looks first.
        log_x: Whether the horizontal axis is logarithmic.
        log_y: Whether the vertical axis is.
        low: Where the vertical axis begins; by the data if not given.
        high: Where it ends at least.
        lines: Horizontal lines with their names.
        legend: HTML below the title.
    """
    lines = lines or {}
    notes = _left_out(series, lines, log_x, log_y)
    series = [dataclasses.replace(s, x=_drawable(s.x), y=_drawable(s.y)) for s in series]
    lines = {name: value for name, value in lines.items() if _fits(value, log_y)}
    series = [s for s in series if (np.isfinite(s.x) & np.isfinite(s.y)).any()]
    if not series:
        said = f"<figure><figcaption>{escape(title)} <small>{', '.join(notes)}</small></figcaption>"
        return f"{said}</figure>" if notes else ""
    x_axis = _axis(np.concatenate([s.x for s in series]), log_x, padding=0.02)
    heights = np.concatenate([*(s.y for s in series), np.array(list(lines.values()), "float64")])
    y_axis = _axis(heights, log_y, low, high)
    left = 12 + _CHARACTER * max(len(label) for _, label in y_axis.ticks)
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts = []
    for value, label in y_axis.ticks:
        y = float(y_axis.place(value, bottom, _TOP))
        parts.append(f'<path class="grid" d="M{left:.1f} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for value, label in x_axis.ticks:
        x = float(x_axis.place(value, left, right))
        parts.append(f'<path class="axis" d="M{x:.1f} {bottom}v4"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{label}</text>')
    parts.append(f'<path class="axis" d="M{left:.1f} {bottom}H{right}"/>')
    middle = (left + right) / 2
    unit = f" ({x_axis.factor})" if x_axis.factor else ""
    name = escape(xlabel) + unit
    parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{name}</text>')
    for name, value in lines.items():
        y = float(y_axis.place(value, bottom, _TOP))
        parts.append(f'<path class="baseline" d="M{left:.1f} {y:.1f}H{right}"/>')
        parts.append(
            f'<text x="{right}" y="{y - 4:.1f}" text-anchor="end">{escape(name)} {value:.2f}</text>'
        )
    for one in series:
        parts.append(_draw(one, x_axis, y_axis, (left, right), (bottom, _TOP)))
    notes += [ylabel, y_axis.factor, "log scale" if y_axis.log else ""]
    notes = [note for note in notes if note]
    note = f" <small>{escape(', '.join(notes))}</small>" if notes else ""
    return (
        f"<figure><figcaption>{escape(title)}{note}</figcaption>{legend}"
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)} over {escape(xlabel)}">{"".join(parts)}</svg></figure>'
    )


def _fits(value, log: bool):
    """Whether an axis can hold a number, or which of an array."""
    size = np.abs(value)
    # A logarithm of what is drawn as zero, or of what is below, there is not.
    return (size < _LARGEST) & ((value >= _SMALLEST) | (not log))


def _left_out(
    series: Sequence[Series], lines: dict[str, float], log_x: bool, log_y: bool
) -> list[str]:
    """What the chart does not show of its data, in words."""
    notes = []
    dots = max((len(s.x) for s in series if s.kind == "dots"), default=0)
    if dots > _DOTS:
        notes.append(f"at most {_DOTS:,} of {dots:,} points drawn")
    longest = max((len(s.x) for s in series if s.kind != "dots"), default=0)
    if longest > 2 * _BUCKETS:
        notes.append(f"of {longest:,} points of a curve the lowest and highest of {_BUCKETS} parts")
    beyond = sum(not _fits(value, log_y) for value in lines.values())
    for one in series:
        x, y = np.asarray(one.x, "float64"), np.asarray(one.y, "float64")
        finite = np.isfinite(x) & np.isfinite(y)
        beyond += int((finite & ~(_fits(x, log_x) & _fits(y, log_y))).sum())
    if beyond:
        notes.append(f"{beyond:,} values that the axes cannot hold left out")
    return notes


def _draw(one: Series, x_axis: _Axis, y_axis: _Axis, across, up) -> str:
    xs, ys = np.asarray(one.x, "float64"), np.asarray(one.y, "float64")
    if one.kind != "dots":
        xs, ys = thin(xs, ys)
    elif len(xs) > _DOTS:
        xs, ys = thin(xs, ys, _DOTS // 3)
    px, py = x_axis.place(xs, *across), y_axis.place(ys, *up)
    group = f' class="{one.group}"' if one.group else ""
    there = np.isfinite(px) & np.isfinite(py)
    if one.kind == "dots":
        shapes = "".join(
            marker(one.look, *point) for point in zip(px[there], py[there], strict=True)
        )
        return f'<g{group}><path class="dots" {look(one.look)} d="{shapes}"/></g>'
    kind = "pale" if one.kind == "pale" else "line"
    style = look(0 if kind == "pale" else one.look)
    if kind == "pale":
        style = f'style="--c:var(--c{one.look % COLOURS})"'
    inner = f'<path class="{kind}" {style} d="{_path(px, py)}"/>'
    if one.kind == "marked":
        # More of them would hide the line.
        some = np.flatnonzero(there)[:: -(-int(there.sum()) // _MARKERS) or 1]
        for x, y, a, b in zip(px[some], py[some], xs[some], ys[some], strict=True):
            inner += (
                f'<path class="dots" {look(one.look)} d="{marker(one.look, x, y)}">'
                f"<title>{escape(one.label)}: {b:.5g} at {a:g}</title></path>"
            )
    return f"<g{group}>{inner}</g>"
