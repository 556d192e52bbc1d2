"""Tables, lists and boxes as HTML; all that comes from a file is escaped here."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from recipes.common.results import formatting

# Rows that the box shows without scrolling.
_ROWS = 16


class Html(str):
    """A string that is HTML already, and is not escaped again."""


class Number(Html):
    """A number as it was typed: no other digits are given to it, and it stands on the right."""


MISSING = "–"
"""What a cell reads that has no value."""


def html(value: Any, largest: float = 0.0) -> str:
    """A cell's content; `largest` as in `formatting.text`."""
    return value if isinstance(value, Html) else escape(formatting.text(value, largest, MISSING))


def table(rows: Sequence[Mapping[str, Any]], label: str) -> str:
    """A table that scrolls inside its own box; columns without any value are left out.

    Args:
        rows: Values by column; one that a row lacks is a dash.
        label: What a screen reader calls it.
    """
    every = dict.fromkeys(name for row in rows for name in row)
    names = [n for n in every if any(html(row.get(n)) not in (MISSING, "") for row in rows)]
    columns = {name: [row.get(name) for row in rows] for name in names}
    kinds = {name: _kind(values) for name, values in columns.items()}
    largest = {name: formatting.largest(values) for name, values in columns.items()}

    def line(tag, cells):
        return "<tr>" + "".join(f"<{tag}{kinds[n]}>{c}</{tag}>" for n, c in cells) + "</tr>"

    head = line("th", [(n, escape(n.replace("_", " "))) for n in names])
    body = "".join(line("td", [(n, html(row.get(n), largest[n])) for n in names]) for row in rows)
    # The box shows so many at once, and a cut at a whole row looks like the end.
    count = f'<p class="soft">{len(rows)} rows; the table scrolls.</p>' if len(rows) > _ROWS else ""
    return (
        f'{count}<div class="box" tabindex="0" role="region" aria-label="{escape(label)}">'
        f"<table><thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _kind(values: Sequence[Any]) -> str:
    words = [v for v in values if isinstance(v, str) and not isinstance(v, Number)]
    if not words:
        return ""
    # A sentence may take several lines; a name may not.
    return ' class="long"' if max(len(_plain(w)) for w in words) > 34 else ' class="word"'


def _plain(word: str) -> str:
    return "" if isinstance(word, Html) else word


def bullets(items: Iterable[Any]) -> str:
    """A list of sentences."""
    return "<ul>" + "".join(f"<li>{html(item)}</li>" for item in items) + "</ul>"


def details(summary: str, inner: str) -> str:
    """Something that is folded until the reader asks."""
    return f"<details><summary>{escape(summary)}</summary>{inner}</details>"


def legend(entries: Sequence[tuple[str, str]], boxes: Sequence[str] = ()) -> str:
    """Swatches with names.

    Args:
        entries: Each a swatch and a name.
        boxes: Ids of check boxes, one for each entry, or none.
    """
    items = []
    for index, (swatch, name) in enumerate(entries):
        if boxes:
            items.append(
                f'<label><input type="checkbox" id="{boxes[index]}" checked>{swatch}'
                f"{escape(name)}</label>"
            )
        else:
            items.append(f"<span>{swatch}{escape(name)}</span>")
    return f'<div class="legend">{"".join(items)}</div>'
