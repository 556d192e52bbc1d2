"""What MkDocs does here beside its plugins: example pages from scripts, and formulas as MathML."""

import html
import os
import re
import sys
from pathlib import Path

import latex2mathml.converter
from mkdocs.structure.files import File

NOTEBOOKS = Path(__file__).parent / "notebooks"
# Pages that stand at the root of the repository, where hosts look for them.
ROOT_PAGES = {
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
}
_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)


def on_files(files, config):
    """Adds the pages that are not Markdown files below `docs/`.

    One for each script in `docs/notebooks`, with its text, code, output and figures; and those of
    the repository's root.
    """
    for name, source in ROOT_PAGES.items():
        text = (Path(__file__).parents[1] / source).read_text("utf-8")
        files.append(File.generated(config, name, content=text.replace("](docs/", "](")))
    for script in sorted(NOTEBOOKS.glob("*.py")):
        page, figures = execute(script)
        files.append(File.generated(config, f"notebooks/{script.stem}.md", content=page))
        for name, image in figures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=image))
    return files


def execute(script: Path) -> tuple[str, dict[str, bytes]]:
    """Runs a script in Jupytext's percent format as a notebook.

    Args:
        script: Path of the script.

    Returns:
        The page as Markdown and the figures by file name.
    """
    import jupytext
    from nbclient import NotebookClient
    from nbconvert import MarkdownExporter

    # The kernel imports the library from the working tree and has no terminal to draw on.
    root = str(NOTEBOOKS.parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    notebook = jupytext.read(script)
    kernel = {"name": "python3", "language": "python", "display_name": "Python"}
    notebook.metadata["kernelspec"] = kernel
    if not os.environ.get("SKIP_EXAMPLES"):  # for those who write other pages
        NotebookClient(
            notebook, timeout=600, kernel_name="python3", coalesce_streams=True
        ).execute()
    for cell in notebook.cells:
        # The libraries' messages about this machine are none of the reader's.
        if "outputs" in cell:
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    page, resources = MarkdownExporter().from_notebook_node(
        notebook, resources={"unique_key": script.stem, "output_files_dir": script.stem}
    )
    return page, resources.get("outputs", {})


def on_page_content(content, **_):
    """Formulas as MathML: every current browser draws it, without a script or a request."""
    return _FORMULA.sub(_mathml, content)


def _mathml(match) -> str:
    latex = html.unescape(match["latex"]).strip()
    display = "block" if match["tag"] == "div" else "inline"
    try:
        return latex2mathml.converter.convert(latex, display=display)
    except Exception as error:
        sys.exit(f"A formula cannot be converted to MathML: {error!r}. Received: {latex}")
