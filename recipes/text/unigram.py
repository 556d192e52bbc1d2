"""The model that every language model has to beat: how often each token occurs."""

import numpy as np


def unigram_loss(training: np.ndarray, targets: np.ndarray, vocabulary_size: int) -> float:
    r"""Cross-entropy, in nats per token, of token frequencies with add-one smoothing.

    $$-\frac{1}{m} \sum_{j=1}^{m} \ln \frac{n_{t_j} + 1}{n + V}$$

    with $n_t$ the count of token $t$ among the $n$ training tokens and $V$ the vocabulary's size.

    Args:
        training: Training ids, shape `(n,)`; counted in pieces, so may be memory-mapped.
        targets: Held-out ids of any shape.
        vocabulary_size: $V$.

    Example: three of four tokens are 1, and one of two targets is 1.

    >>> round(unigram_loss(np.array([1, 1, 1, 0]), np.array([1, 0]), 2), 4)
    0.752
    """
    counts = np.zeros(vocabulary_size, np.int64)
    for start in range(0, len(training), 2**24):
        counts += np.bincount(training[start : start + 2**24], minlength=vocabulary_size)
    logarithms = np.log(counts + 1.0) - np.log(len(training) + vocabulary_size)
    return float(-logarithms[np.asarray(targets)].mean())
