"""The families of image models: one file for each, with its models."""

from recipes.vision.families import resnet, vit
from recipes.vision.families.base import Shape
from recipes.vision.families.resnet import ResNet
from recipes.vision.families.vit import ViT

__all__ = ["MODELS", "ResNet", "Shape", "ViT"]

MODELS: dict[str, Shape] = {**resnet.MODELS, **vit.MODELS}
