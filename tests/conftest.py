"""Devices, precision and seeds for every test; the backend is the one KERAS_BACKEND names."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# The recipes are not installed: processes that tests start find them here.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
)
# Two simulated devices, so that the data-parallel tests run on any machine. Both have to be asked
# for before the backend starts.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
)

# Many tests train the same tiny models: JAX compiles each program once for all workers and for the
# processes that tests start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="keras-h0h1-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import keras
import pytest

BACKEND = keras.backend.backend()

if BACKEND == "tensorflow":
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )


@pytest.fixture
def backend():
    """The name of the active backend."""
    return BACKEND


@pytest.fixture(scope="session")
def mirrored():
    """TensorFlow's strategy on two logical devices.

    One for all tests of a process: the collective operations of a second one would be taken for
    the first one's.
    """
    if BACKEND != "tensorflow":
        pytest.skip("tf.distribute is TensorFlow's")
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


@pytest.fixture
def float64():
    """Runs the test in double precision, on JAX too, where 64 bits have to be switched on."""
    previous = keras.config.floatx()
    keras.config.set_floatx("float64")
    # Keras remembers the default policy from its first use; in a fresh process it follows floatx.
    keras.config.set_dtype_policy("float64")
    if BACKEND == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    yield
    if BACKEND == "jax":
        jax.config.update("jax_enable_x64", False)
    keras.config.set_floatx(previous)
    keras.config.set_dtype_policy(previous)


@pytest.fixture(params=["float32", "float64"])
def floatx(request):
    """Runs the test once in each precision."""
    if request.param == "float64":
        request.getfixturevalue("float64")
    return request.param
