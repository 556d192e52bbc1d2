"""The option `--target` of recipes that have a dry run."""

import dataclasses

from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import option
from recipes.compilers.targets import Target


@dataclasses.dataclass
class ForTarget:
    """Compilers: for accelerators that are not here."""

    target: str | None = option(
        None,
        "dry run: compile the training step with the compiler of these accelerators, such as"
        " tpu-v5e:2x2, tpu-v4:2x2x1, tpu-v5p:2x2x1, h100:4, and print memory, work, communication"
        " and the limit they set; needs KERAS_BACKEND=jax and the extra [aot-tpu] or [aot-gpu]",
    )

    def __post_init__(self):
        super().__post_init__()
        if self.target is not None:
            Target.parse(self.target)
            if not self.dry_run:
                raise InputError(f"`target` is of --dry-run. Received: target={self.target}")
