"""A page, and the pieces that its sections are made of."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from mass_jax.reporting.run import Run
from mass_jax.reporting.table import Table


def page(name: str, title: str, lead: str, parts: Sequence[tuple[str, str, str]]) -> str:
    """One self-contained file.

    Args:
      name: what a browser calls it.
      title: its heading.
      lead: HTML below that.
      parts: of every section the anchor, the heading and the HTML.
    """
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    links = "".join(f'<a href="#{anchor}">{escape(heading)}</a>' for anchor, heading, _ in parts)
    body = "".join(
        f'<section id="{anchor}"><h2>{escape(heading)}</h2>{content}</section>' for anchor, heading, content in parts
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}</title><style>{style}</style></head><body>"
        f"<header><h1>{escape(title)}</h1>{lead}<nav>{links}</nav></header>"
        f"<main>{body}</main><footer>Made from the files of the run by mass_jax.reporting; "
        "no number was typed by hand.</footer></body></html>\n"
    )


def grid(columns: Sequence[str], align: str, rows: Sequence[Sequence[str]], compact: bool = False) -> str:
    """A table whose cells are HTML already; the first cell of a row is its heading."""
    classes = [' class="r"' if letter == "r" else "" for letter in align]

    def heading(text: str, c: str) -> str:
        return f'<th scope="col"{c}>{escape(text)}</th>' if text else f"<td{c}></td>"

    def line(row: Sequence[str]) -> str:
        first, *rest = (f"{c}>{cell}" for cell, c in zip(row, classes, strict=True))
        return f'<tr><th scope="row"{first}</th>' + "".join(f"<td{cell}</td>" for cell in rest) + "</tr>"

    head = "".join(heading(text, c) for text, c in zip(columns, classes, strict=True))
    return (
        f'<div class="scroll" tabindex="0"><table{" class=compact" * compact}><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(map(line, rows))}</tbody></table></div>"
    )


def table(content: Table, compact: bool = False) -> str:
    """A table of text."""
    return grid(content.columns, content.align, [[escape(text) for text in row] for row in content.rows], compact)


def titled(title: str, content: Table) -> str:
    """A table under its title; nothing where it is empty."""
    return f"<h3>{escape(title)}</h3>{table(content, compact=True)}" if content.rows else ""


def folded(title: str, content: str) -> str:
    """HTML that is long, behind its title."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def wide(figure: str) -> str:
    """A figure that stands alone."""
    return f'<figure class="wide">{figure}</figure>'


def note(text: str) -> str:
    """An explanation."""
    return f'<p class="note">{escape(text)}</p>'


def missing(run: Run, name: str, otherwise: str) -> str:
    """Why there is nothing to see."""
    return f'<p class="missing">{escape(run.missing.get(name, otherwise))}</p>'


def bar(share: float, width_rem: float) -> str:
    """A bar of a share of a width."""
    return f'<span class="bar" style="width:{max(0.0, min(share, 1.0)) * width_rem:.2f}rem"></span>'
