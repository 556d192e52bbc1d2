"""The architectures of the language models: one file for each."""

from recipes.gpt.architectures.base import Architecture, Size
from recipes.gpt.architectures.gpt2 import GPT2
from recipes.gpt.architectures.llama import Llama

__all__ = ["ARCHITECTURES", "Architecture", "Size", "describe_architectures"]

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture for architecture in (GPT2(), Llama())
}


def describe_architectures() -> str:
    """What `--help` says of `--arch`."""
    return "; ".join(f"{name}: {entry.label}" for name, entry in ARCHITECTURES.items())
