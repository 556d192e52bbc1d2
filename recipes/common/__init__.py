"""What the recipes share: options, schedules, the run folder, the training loop, plots, tables."""

import os

# TensorFlow prints its start-up notices from C++, over the progress bar; errors still come through.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
