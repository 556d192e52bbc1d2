"""Sizes: a language model of 3 million parameters."""

from benchmarks.quality.language_models import sized

WORKLOAD = sized("lm_3m", "3 million", width=192, depth=5)
