"""The tests of Keras 3.15 that do not pass on wrapped optimizers, each with the reason."""

_PRIVATE = "reads or calls a private attribute, which stays on the inner optimizer"
_SETTABLE = "sets the rates of a MultiOptimizer's optimizers, which are schedules here"
_IDENTITY = "asks whether a MultiOptimizer holds the very object that is the wrapper here"
_COUNT = "counts the variables, to which the wrapper adds the state of the schedule"
_CALLABLE = "a function as learning rate, which no loss-driven schedule takes as base"

EXPECTED = {
    "MultiOptimizerTest.test_custom_callable_function": "LossAware in a MultiOptimizer is refused",
    "MultiOptimizerTest.test_default_fallback": _PRIVATE,
    "MultiOptimizerTest.test_learning_rate_scheduler_with_multi_optimizer": _SETTABLE,
    "MultiOptimizerTest.test_multi_optimizer_blocks_nested_optimizers": (
        "the error is the wrapper's: there is no loss-driven schedule"
    ),
    "MultiOptimizerTest.test_multi_optimizer_initialization": _IDENTITY,
    "MultiOptimizerTest.test_optimizer_map_matching": _IDENTITY,
    "MultiOptimizerTest.test_reduce_lr_on_plateau_with_multi_optimizer": _SETTABLE,
    "MultiOptimizerTest.test_serialization": _PRIVATE,
    "MuonTest.test_adamw_weight_decay": _PRIVATE,
    "MuonTest.test_should_use_adamw": _PRIVATE,
    "NadamTest.test_build_with_empty_var_list": _PRIVATE,
    "OptimizerSparseTest.test_sparse_gradients_adamw": _PRIVATE,
    "OptimizerSparseTest.test_sparse_gradients_adamw_amsgrad": _PRIVATE,
    "OptimizerTest.test_callable_learning_rate": _CALLABLE,
    "OptimizerTest.test_gradient_accumulation": _PRIVATE,
    "OptimizerTest.test_optimizer_auto_naming": "the name is the wrapper's",
    # `_iterations`: the wrapper's own counter is unused.
    "OptimizerTest.test_overwrite_with_gradient_with_gradient_accumulation": _PRIVATE,
    "OptimizerTest.test_set_weights": "the message of `set_weights` before `build` is another",
    "OptimizerTest.test_setting_lr_to_callable_untracks_lr_var": _COUNT,
    "SGDTest.test_single_step": _COUNT,
}
