"""A `LayoutMap` has no say in where an optimizer's variables are; runs on two simulated devices."""

import os

os.environ["KERAS_BACKEND"] = "jax"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import keras

mesh = keras.distribution.DeviceMesh((2,), ["batch"])
layouts = keras.distribution.LayoutMap(mesh)
layouts[".*momentum"] = ("batch", None)
layouts[".*velocity"] = ("batch", None)
keras.distribution.set_distribution(
    keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch")
)
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, use_bias=False)])
optimizer = keras.optimizers.Adam()
optimizer.build(model.trainable_variables)
print(f"Keras {keras.__version__}")
for variable in optimizer.variables[2:]:
    asked = layouts[variable.path].axes
    print(f"  {variable.path}: asked for {asked}, is {variable.value.sharding.spec}")
