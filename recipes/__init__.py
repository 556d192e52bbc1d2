"""Runnable recipes: `python -m recipes.gpt`, `python -m recipes.compare` and others."""

import os

# TensorFlow prints its start-up notices from C++, over the progress bar; errors still come
# through. Here, because it has to be said before the first import of TensorFlow or Keras.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
