"""Every kind of data gives the same batches, pass after pass."""

import keras
import numpy as np

from keras_h0h1.curvature.batches import Batches
from tests.curvature.models import host


class Sequence(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def test_a_py_dataset_is_read_by_index_and_again():
    rng = np.random.default_rng(0)
    batches = [(rng.standard_normal((4, 3)), np.arange(4)) for _ in range(3)]
    expected = [host(batch[0]) for batch in Batches(batches)]
    data = Batches(Sequence(batches))
    for _ in range(2):
        found = [host(batch[0]) for batch in data]
        np.testing.assert_array_equal(found, expected)
