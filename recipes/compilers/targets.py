"""A target: so many accelerators of one kind, described to their compiler, none of them here.

JAX's compilers for TPU (in `libtpu`) and for NVIDIA GPUs (in the CUDA plug-in) run on a CPU. They
are asked for a topology, whose devices can be compiled for and cannot run anything.
"""

import contextlib
import dataclasses
import importlib.util
import math
import os
import re
import tempfile
from collections.abc import Iterator
from unittest import mock

import keras

from recipes.common.command_line.errors import InputError
from recipes.common.training.attention import COMPILING_ONLY
from recipes.compilers.chips import CHIPS, Chip

_EXAMPLES = "tpu-v5e:2x2, tpu-v4:2x2x1, tpu-v5p:2x2x1, h100:1, h100:4"
_SHAPES = {1: "a number", 2: "two sides, such as 2x2", 3: "three sides, such as 2x2x1"}
# Where one host's accelerators end; a GPU's network between hosts is another one.
_GPUS_OF_A_HOST = 8
_MOST = 4096
# Of cuDNN, by which JAX decides whether its fused attention suits; as in `chips`.
_CUDNN = 91000


@dataclasses.dataclass(frozen=True)
class Target:
    """Accelerators to compile for.

    Args:
        name: One of `CHIPS`.
        shape: How they are connected; of GPUs, their number.

    Example:

    >>> Target.parse("tpu-v5e:2x4").count
    8
    """

    name: str
    shape: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "Target":
        """From `"tpu-v5e:2x2"`, `"h100:4"` and the like.

        Raises:
            InputError: If there is no such accelerator, or it is not connected so.
        """
        matched = re.fullmatch(r"([a-z0-9-]+):([0-9]{1,4}(?:x[0-9]{1,4}){0,2})", text)
        name, shape = matched.groups() if matched else (None, "")
        if name not in CHIPS:
            raise InputError(
                f"A target is an accelerator ({', '.join(CHIPS)}), a colon, and how many, such as "
                f"{_EXAMPLES}. Received: target={text!r}"
            )
        sides = tuple(map(int, shape.split("x")))
        axes = {"cuda": 1}.get(CHIPS[name].platform, 2 if name == "tpu-v5e" else 3)
        most = _GPUS_OF_A_HOST if axes == 1 else _MOST
        if len(sides) != axes or not 1 <= math.prod(sides) <= most:
            raise InputError(
                f"{name} takes {_SHAPES[axes]}, at most {most} in all. Received: target={text!r}"
            )
        return cls(name, sides)

    def __str__(self) -> str:
        return f"{self.name}:{'x'.join(map(str, self.shape))}"

    @property
    def chip(self) -> Chip:
        """What the accelerator can do."""
        return CHIPS[self.name]

    @property
    def count(self) -> int:
        """How many accelerators."""
        return math.prod(self.shape)

    @property
    def compiler_options(self) -> dict:
        """What the compiler is told because the device is not there."""
        # Trying kernels out needs the GPU.
        return {"xla_gpu_autotune_level": 0} if self.chip.platform == "cuda" else {}

    def missing(self) -> str | None:
        """What has to be installed before this target can be compiled for, as a sentence."""
        if keras.backend.backend() != "jax":
            return "Compiling for a target needs KERAS_BACKEND=jax."
        tpu = self.chip.platform == "tpu"
        modules = ("libtpu",) if tpu else ("jax_plugins.xla_cuda12", "jax_cuda12_plugin")
        for module in modules:
            try:
                found = importlib.util.find_spec(module)
            except ModuleNotFoundError:
                found = None
            if found is None:
                extra = "aot-tpu" if tpu else "aot-gpu"
                return (
                    f'The compiler for {self.name} is not installed: pip install -e ".[{extra}]".'
                )
        return None

    def devices(self) -> list:
        """The devices of the topology, in JAX's order.

        Raises:
            InputError: If the compiler is not installed or knows no such topology.
        """
        missing = self.missing()
        if missing:
            raise InputError(f"{missing} Received: target={self}")
        import jax
        from jax.experimental import topologies

        if self.chip.platform == "cuda":
            os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
            arguments = {
                "platform": "cuda",
                "target_config": self.chip.target_config,
                "topology": f"1x1x{self.count}",
            }
        else:
            # Nothing is asked of a TPU, so several processes can compile at once.
            os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
            os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
            os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
            sides = self.shape + (1,) * (3 - len(self.shape))
            arguments = {
                "platform": "tpu",
                "topology_name": f"{self.chip.xla_name}:{'x'.join(map(str, self.shape))}",
                # A host has up to 2 x 2 of them.
                "chips_per_host_bounds": [min(2, side) for side in sides[:2]] + [1],
            }
        try:
            with _quiet():
                return list(topologies.get_topology_desc(**arguments).devices)
        except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
            said = str(error).strip().splitlines()[0]
            raise InputError(
                f"The compiler takes no such target: {said} Received: target={self}"
            ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what the plug-ins write to the error stream about the devices that are not there."""
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        try:
            os.dup2(file.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@contextlib.contextmanager
def traced_for(devices: list) -> Iterator[None]:
    """Inside, what asks JAX for its devices while a step is traced is told the target's.

    Keras chooses its attention by the platform of `jax.devices()[0]`, and JAX asks the first GPU
    and cuDNN whether its fused attention suits. Nothing may be run inside, only traced.
    """
    import jax
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    real = jax.devices
    capability = getattr(devices[0], "compute_capability", None)

    def compared(how):
        def check(wanted: str) -> bool:
            numbers = [tuple(map(int, text.split("."))) for text in (capability, wanted)]
            return how(*numbers)

        return check

    with contextlib.ExitStack() as stack:

        def put(owner, name, value):
            stack.enter_context(mock.patch.object(owner, name, value))

        put(jax, "devices", lambda backend=None: real(backend) if backend else list(devices))
        if capability:
            put(cudnn, "check_cudnn_version", lambda: _CUDNN)
            put(cudnn, "check_compute_capability", compared(lambda has, wants: has >= wants))
            put(cudnn, "is_cuda_compute_capability_equal", compared(lambda a, b: a == b))
        stack.callback(COMPILING_ONLY.reset, COMPILING_ONLY.set(True))
        yield
