"""Batches of token windows: a pure function of (seed, step), the same on every backend."""

from collections.abc import Iterator

import numpy as np


class TokenBatches:
    """Cuts tokens into windows and deals them out, each once an epoch, in shuffled order.

    Window `i` predicts the tokens `i T + 1 ... (i + 1) T` from those one place before. Batch `k`
    depends on the tokens, `seed` and `k` alone, so a run that is resumed at step `k`, on any
    backend and any number of hosts, sees what it would have seen.

    The order of an epoch is a permutation in memory, 8 bytes a window: 80 MB for ten billion
    tokens in windows of 1024, which is little beside the model that such data is for, and every
    window is equally likely in every place.

    Args:
        tokens: Ids, shape `(n,)`, an array or `ShardedTokens`; may be memory-mapped: only the
            batch's windows are read.
        context: Tokens in a window, $T$.
        batch_size: Windows in a batch.
        seed: Of the order.

    Raises:
        ValueError: If the tokens are too few for one batch.

    Example:

    >>> batches = TokenBatches(np.arange(9), context=4, batch_size=2, seed=0)
    >>> x, y = batches[0]
    >>> x.shape, bool(np.all(y == x + 1)), sorted(x[:, 0].tolist())
    ((2, 4), True, [0, 4])
    """

    def __init__(self, tokens: np.ndarray, context: int, batch_size: int, seed: int = 0):
        self.tokens = tokens
        self.context = context
        self.batch_size = batch_size
        self.seed = seed
        self.windows = (len(tokens) - 1) // context
        if self.windows < batch_size:
            raise ValueError(
                f"Too little data for one batch of {batch_size} windows of {context} tokens. "
                f"Received: {len(tokens)} tokens"
            )
        self._epoch = -1

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of batch `step`, both `(batch_size, context)` int32."""
        return self.rows(step)

    def rows(self, step: int, host: int = 0, hosts: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The share of batch `step` that one of several hosts takes; no other row is read.

        Args:
            step: Which batch.
            host: Which host, from 0.
            hosts: How many hosts. Their shares, one after the other, are the whole batch.

        Returns:
            Inputs and targets, both `(batch_size / hosts, context)` int32.

        Raises:
            ValueError: If the batch cannot be shared out evenly, or there is no such host.

        Example:

        >>> batches = TokenBatches(np.arange(33), context=4, batch_size=4, seed=0)
        >>> whole = batches[5][0]
        >>> shares = [batches.rows(5, host, hosts=2)[0] for host in range(2)]
        >>> bool(np.all(np.concatenate(shares) == whole))
        True
        """
        if hosts < 1 or self.batch_size % hosts or not 0 <= host < hosts:
            raise ValueError(
                "Each host takes an equal share of the batch, and hosts are counted from 0. "
                f"Received: batch_size={self.batch_size}, host={host}, hosts={hosts}"
            )
        share = self.batch_size // hosts
        first = step * self.batch_size + host * share
        places = range(first, first + share)
        windows = [self._window(*divmod(place, self.windows)) for place in places]
        rows = np.stack(
            [self.tokens[w * self.context : (w + 1) * self.context + 1] for w in windows]
        ).astype(np.int32)
        return rows[:, :-1], rows[:, 1:]

    def _window(self, epoch: int, place: int) -> int:
        if epoch != self._epoch:
            # One generator for each epoch: no state to restore when a run is resumed.
            order = np.random.default_rng([self.seed, epoch]).permutation(self.windows)
            self._epoch, self._order = epoch, order
        return int(self._order[place])

    def starting_at(
        self, step: int, host: int = 0, hosts: int = 1
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches `step`, `step + 1`, ... without end; of each, the share of one host."""
        while True:
            yield self.rows(step, host, hosts)
            step += 1


def validation_windows(
    tokens: np.ndarray, context: int, batch_size: int, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """Windows spread evenly over the held-out tokens, at most `limit` tokens of them.

    Their number is a multiple of `batch_size`, so that evaluation compiles for one shape.

    Returns:
        Inputs and targets, both `(windows, context)` int32.
    """
    available = (len(tokens) - 1) // context
    if available < 1:
        raise ValueError(
            f"Too little held-out data for one window of {context} tokens. "
            f"Received: {len(tokens)} tokens"
        )
    count = max(1, min(available, limit // context) // batch_size) * batch_size
    # With fewer windows than a batch some are used twice.
    chosen = np.arange(count) * available // count
    rows = np.stack([tokens[w * context : (w + 1) * context + 1] for w in chosen]).astype(np.int32)
    return rows[:, :-1], rows[:, 1:]
