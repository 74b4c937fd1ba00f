"""Scores of test videos from frozen features: ridge in closed form, softmax by SGD, nearest neighbours.

Each function takes features of the training part ``(N, D)``, their class numbers ``(N,)``, and features of
the test part ``(M, D)``. It returns scores ``(M, C)``, higher for more likely classes. Features and scores
are finite float64 arrays; every class number from 0 to C - 1 occurs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bodvcl.data.randomness import generator

Array = NDArray[np.float64]
Classes = NDArray[np.int64]

RIDGES = np.logspace(-1, 5, 13)
"""Penalties that are tried; leave-one-out on the training part, in closed form, chooses one."""

EPOCHS, WARMUP_EPOCHS, BATCH, MOMENTUM = 60, 8, 64, 0.9
RATES = (0.5, 5.0, 0.05, 0.005)
"""Peak learning rates that are tried for a batch of 64: the rate of the recipe, and its neighbours."""

_SGD = 101
_CHUNK = 1024  # test videos whose similarities are in memory at a time


@dataclass(frozen=True)
class LinearProbe:
    """A fitted linear classifier.

    Attributes:
        weights: ``(C, D)``, of features as they are, not standardised.
        biases: ``(C,)``.
    """

    weights: Array
    biases: Array

    def scores(self, features: Array) -> Array:
        """Scores ``(M, C)`` of features ``(M, D)``."""
        scores: Array = features @ self.weights.T + self.biases
        return scores


def fit_ridge(train: Array, classes: Classes) -> LinearProbe:
    """Ridge regression of standardised features on targets of +-1, one per class.

    The penalty is the one of ``RIDGES`` with the smallest leave-one-out error on the training part.
    """
    from sklearn.linear_model import RidgeClassifierCV  # takes seconds, and a training needs it at its end
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    model = RidgeClassifierCV(RIDGES).fit(scaler.transform(train), classes)
    coefficients, biases = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
    if len(biases) == 1:  # of two classes only the second one has a target of its own
        coefficients, biases = np.concatenate([-coefficients, coefficients]), np.append(-biases, biases)
    weights = coefficients / scaler.scale_
    return LinearProbe(weights, biases - weights @ scaler.mean_)


def ridge_scores(train: Array, classes: Classes, test: Array) -> Array:
    """Ridge regression of standardised features on targets of +-1, one per class; see :func:`fit_ridge`."""
    return fit_ridge(train, classes).scores(test)


def sgd_scores(train: Array, classes: Classes, test: Array, seed: int = 0) -> Array:
    """The paper's linear classifier (Eqs. 5 and 6): softmax and cross-entropy, trained by SGD.

    The recipe of Kinetics: 60 epochs in batches of 64, Nesterov momentum 0.9, no weight decay, linear warm-up
    from 0 over 8 epochs, then a cosine to 0. Two things differ, because features are computed only once:
    there is no augmentation, and features are standardised, so that a rate suits every encoder.
    The peak rate is the one of ``RATES`` with the best accuracy on a held-out fifth of the training part; if
    that fifth holds all videos of a class, it is the recipe's 0.5. The final classifier is trained on the
    whole training part.
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    x, x_test = (torch.from_numpy(scaler.transform(part)).float() for part in (train, test))
    y = torch.from_numpy(classes)
    held, rest = np.split(generator(seed, _SGD, 0, 0).permutation(len(x)), [len(x) // 5])
    rate = RATES[0]
    if len(held) and set(classes[rest]) == set(classes):
        rate = max(RATES, key=lambda r: _accuracy(_fit_softmax(x[rest], y[rest], r, seed), x[held], y[held]))
    weight = _fit_softmax(x, y, rate, seed)
    return _logits(x_test, weight).double().numpy()


def knn_scores(train: Array, classes: Classes, test: Array, k: int = 200, temperature: float = 0.07) -> Array:
    """Votes of the ``k`` nearest training videos by cosine, each with weight ``exp(cosine / temperature)``.

    The method of Wu et al. (2018). With fewer than ``k`` training videos, all of them vote.
    """
    similarity, nearest = neighbours(train, test, min(k, len(train)))
    votes = np.exp((similarity - similarity.max(1, keepdims=True)) / temperature)  # the nearest one has 1
    scores = np.zeros((len(test), int(classes.max()) + 1))
    np.add.at(scores, (np.arange(len(test))[:, None], classes[nearest]), votes)
    return scores


def neighbours(train: Array, test: Array, k: int) -> tuple[Array, Classes]:
    """The ``k`` nearest training videos of each test video, nearest first: cosines and rows, each ``(M, k)``.

    The cosine of a row of zeros is 0 with every row.
    """
    x, queries = (F.normalize(torch.from_numpy(part), dim=1) for part in (train, test))
    found = [(part @ x.T).topk(k, dim=1) for part in queries.split(_CHUNK)]
    values, rows = (torch.cat(parts) for parts in zip(*found))
    return values.numpy(), rows.numpy()


def _fit_softmax(x: Tensor, y: Tensor, rate: float, seed: int) -> Tensor:
    """Weights ``(D + 1, C)`` of a linear classifier, the bias in the last row; they start at 0."""
    weight = torch.zeros(x.shape[1] + 1, int(y.max()) + 1)
    momentum = torch.zeros_like(weight)
    target = F.one_hot(y, weight.shape[1]).float()
    steps = math.ceil(len(x) / BATCH)
    for epoch in range(EPOCHS):
        order = torch.from_numpy(generator(seed, _SGD, 1, epoch).permutation(len(x)))
        for step, rows in enumerate(order.split(BATCH)):
            error = (_logits(x[rows], weight).softmax(1) - target[rows]) / len(rows)
            gradient = torch.cat([x[rows].T @ error, error.sum(0, keepdim=True)])
            momentum.mul_(MOMENTUM).add_(gradient)
            weight -= _rate(epoch + step / steps, rate) * (gradient + MOMENTUM * momentum)
    return weight


def _rate(epoch: float, peak: float) -> float:
    cosine = peak * 0.5 * (1 + math.cos(math.pi * epoch / EPOCHS))
    if epoch >= WARMUP_EPOCHS:
        return cosine
    end = peak * 0.5 * (1 + math.cos(math.pi * WARMUP_EPOCHS / EPOCHS))
    return end * epoch / WARMUP_EPOCHS


def _logits(x: Tensor, weight: Tensor) -> Tensor:
    return torch.addmm(weight[-1], x, weight[:-1])


def _accuracy(weight: Tensor, x: Tensor, y: Tensor) -> float:
    return float((_logits(x, weight).argmax(1) == y).float().mean())
