"""Everything that changes during training, in files with checksums."""
