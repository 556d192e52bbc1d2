"""The counts of the long form as data, beside the versions and the day that made them."""

import datetime
import json
from pathlib import Path
from typing import Any

from recipes.common.files.writing import write_json
from recipes.common.results.environment import describe_environment


def write_record(path: Path, name: str, found: dict[str, Any]) -> None:
    """Sets one entry of a JSON file; the others stay, each with its own day.

    Args:
        path: The file; made if there is none.
        name: Of the target.
        found: Its counts.
    """
    content = json.loads(path.read_text("utf-8")) if path.exists() else {}
    entries = content.get("targets", {})
    entries[name] = {"date": datetime.date.today().isoformat(), **found}
    environment = describe_environment()
    # The inputs do not depend on it, and `rates` is run on more than one.
    del environment["backend"], environment["devices"]
    content = {
        "command": "make attack",
        "environment": environment,
        "targets": dict(sorted(entries.items())),
    }
    write_json(path, content)
