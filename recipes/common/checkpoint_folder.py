"""The checkpoints of a run: which there are, which of them is the newest valid one."""

import dataclasses
from pathlib import Path

from recipes.common.checkpoints import find_problem


@dataclasses.dataclass(frozen=True)
class CheckpointFolder:
    """Files `step-N.npz`, each made after N updates.

    The number of updates is in the name: it is the position in the data, and a file and its
    position cannot come apart.

    Args:
        path: The folder; made when the first checkpoint is written.
    """

    path: Path

    def path_of(self, step: int) -> Path:
        return self.path / f"step-{step:07d}.npz"

    def steps(self) -> list[int]:
        """The updates that checkpoints, valid or not, were made after; newest first."""
        return sorted((int(p.stem[5:]) for p in self.path.glob("step-*.npz")), reverse=True)

    def newest_valid(self) -> tuple[int | None, dict[Path, str]]:
        """The updates of the newest valid checkpoint, and what is wrong with each newer one.

        Returns:
            `(step, problems)`; the step is `None` where there is no checkpoint at all.

        Raises:
            ValueError: If there are checkpoints and none is valid.
        """
        problems: dict[Path, str] = {}
        for step in self.steps():
            problem = find_problem(self.path_of(step))
            if problem is None:
                return step, problems
            problems[self.path_of(step)] = problem
        if problems:
            listed = "; ".join(f"{path.name}: {problem}" for path, problem in problems.items())
            raise ValueError(
                f"No checkpoint of the run is valid ({listed}). Put an intact copy in their place, "
                f"or start a new run. Received: {self.path}"
            )
        return None, problems

    def set_aside(self, path: Path) -> Path:
        """Renames a corrupt checkpoint, so that it is neither resumed nor counted again."""
        return path.rename(path.with_name(path.name + ".corrupt"))

    def rotate(self, keep: int, step: int) -> None:
        """Deletes all but the newest `keep`, once that of `step` is whole on the disk."""
        for old in [s for s in self.steps() if s <= step][keep:]:
            self.path_of(old).unlink(missing_ok=True)
