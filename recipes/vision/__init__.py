"""What the vision recipe is made of: images, their augmentation, models."""
