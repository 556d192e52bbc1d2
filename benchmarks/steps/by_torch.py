"""A training step in PyTorch, which `torch.compile` may compile."""

import functools
from types import SimpleNamespace

import keras
import torch
import torch.nn.functional as F

from benchmarks.steps.cases import OPTIMIZER, Case
from benchmarks.steps.mathematics import loss


def _layer_norm(x, scale, shift, epsilon):
    return F.layer_norm(x, scale.shape, scale, shift, epsilon)


def _conv(x, kernel, stride):
    pad = (kernel.shape[0] - 1) // 2
    x = F.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), None, stride, pad)
    return x.permute(0, 2, 3, 1)


def _cross_entropy(logits, targets):
    return F.cross_entropy(logits, targets.long())


OPS = SimpleNamespace(
    einsum=torch.einsum,
    reshape=torch.reshape,
    transpose=torch.permute,
    take=lambda table, ids: F.embedding(ids, table),
    masked=lambda scores, allowed: scores.masked_fill(torch.from_numpy(~allowed), -1e30),
    softmax=functools.partial(torch.softmax, dim=-1),
    gelu_tanh=functools.partial(F.gelu, approximate="tanh"),
    gelu_erf=F.gelu,
    relu=torch.relu,
    sqrt=torch.sqrt,
    layer_norm=_layer_norm,
    conv=_conv,
    mean=torch.mean,
    sum=functools.partial(torch.sum, dim=-1),
    variance=functools.partial(torch.var, correction=0),
    logsumexp=functools.partial(torch.logsumexp, dim=-1),
    cross_entropy=_cross_entropy,
    constant=torch.Tensor.detach,
)


class Step:
    """One update each call."""

    def __init__(self, case: Case, weights: dict, stats: dict, compiled: bool = False):
        given = OPTIMIZER
        self.case, self.clip = case, given["global_clipnorm"]
        self.loss = torch.compile(loss) if compiled else loss
        self.weights = keras.tree.map_structure(
            lambda w: torch.tensor(w, requires_grad=True), weights
        )
        self.stats = keras.tree.map_structure(torch.tensor, stats)
        self.flat = keras.tree.flatten(self.weights)
        self.optimizer = torch.optim.AdamW(
            self.flat, given["learning_rate"], (given["beta_1"], given["beta_2"]),
            given["epsilon"], given["weight_decay"],
        )  # fmt: skip

    def __call__(self, x, y):
        """The loss before the update."""
        x, y = torch.from_numpy(x), torch.from_numpy(y)
        found, self.stats = self.loss(OPS, self.case, self.weights, self.stats, x, y)
        self.optimizer.zero_grad()
        found.backward()
        torch.nn.utils.clip_grad_norm_(self.flat, self.clip)
        self.optimizer.step()
        return found.detach()
