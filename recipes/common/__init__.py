"""What the recipes share: options, schedules, the run folder, the training loop, plots, tables."""
