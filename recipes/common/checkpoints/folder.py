"""The checkpoints of a run: which there are, which of them is the newest valid one."""

import dataclasses
import re
from pathlib import Path

from recipes.common.checkpoints.reading import find_problem, read_header
from recipes.common.command_line.errors import InputError

_NAME = re.compile(r"step-([0-9]{7,15})\.npz")


@dataclasses.dataclass(frozen=True)
class CheckpointFolder:
    """Files `step-N.npz`, each made after N updates.

    The number of updates, which is the position in the data, is in the name and in the file. A
    file whose name says another number than its content is not valid.

    Args:
        path: The folder; made when the first checkpoint is written.
    """

    path: Path

    def path_of(self, step: int) -> Path:
        return self.path / f"step-{step:07d}.npz"

    def steps(self) -> list[int]:
        """The updates that checkpoints, valid or not, were made after; newest first."""
        names = [name for name in self._names() if self.owns(name)]
        return sorted((int(_NAME.fullmatch(name)[1]) for name in names), reverse=True)

    def owns(self, name: str) -> bool:
        """Whether a file of this name in the folder is a checkpoint, valid or not."""
        match = _NAME.fullmatch(name)
        return bool(match) and self.path_of(int(match[1])).name == name

    def strays(self) -> list[str]:
        """Names in the folder that are not those of checkpoints, nor made by this program."""
        return [
            name
            for name in self._names()
            if not self.owns(name) and not name.startswith(".") and ".corrupt" not in name
        ]

    def _names(self) -> list[str]:
        try:
            return sorted(entry.name for entry in self.path.iterdir())
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            raise InputError(
                f"There is a file where the folder of checkpoints should be. Received: {self.path}"
            ) from None
        except OSError as error:
            raise InputError(
                f"The folder cannot be read ({error.strerror}). Received: {self.path}"
            ) from None

    def _problem(self, step: int) -> str | None:
        path = self.path_of(step)
        problem = find_problem(path)
        if problem is None:
            inside = read_header(path)["step"]
            if inside != step:
                problem = f"it was made after {inside} updates, not {step} as its name says"
        return problem

    def newest_valid(self) -> tuple[int | None, dict[Path, str]]:
        """The updates of the newest valid checkpoint, and what is wrong with each newer one.

        Returns:
            `(step, problems)`; the step is `None` where there is no checkpoint at all.

        Raises:
            InputError: If there are checkpoints and none is valid.
        """
        problems: dict[Path, str] = {}
        for step in self.steps():
            problem = self._problem(step)
            if problem is None:
                return step, problems
            problems[self.path_of(step)] = problem
        if problems:
            listed = "; ".join(f"{path.name}: {problem}" for path, problem in problems.items())
            raise InputError(
                f"No checkpoint of the run is valid ({listed}). Put an intact copy in their place, "
                f"or start a new run. Received: {self.path}"
            )
        return None, problems

    def set_aside(self, path: Path) -> Path:
        """Renames a corrupt checkpoint, so that it is neither resumed nor counted again."""
        target, count = path.with_name(path.name + ".corrupt"), 1
        while target.exists():
            count += 1
            target = path.with_name(f"{path.name}.corrupt-{count}")
        return path.rename(target)

    def rotate(self, max_to_keep: int, step: int) -> None:
        """Deletes all but the newest `max_to_keep`, once that of `step` is whole on the disk."""
        for old in [s for s in self.steps() if s <= step][max_to_keep:]:
            self.path_of(old).unlink(missing_ok=True)
