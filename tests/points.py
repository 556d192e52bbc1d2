"""What must not happen to a user, point by point, and the tests that would see it happen.

Each point is a property of the program. `tests/test_points.py` checks that the tests are there.
Whoever adds a property adds it here with its test; whoever removes a test finds out what it held.
"""

from typing import NamedTuple

_CRAFTED = "attack/test_crafted.py::"
_CUSTOM = "core/test_custom_loops.py::"
_DAMAGE = "recipes/test_run_damage.py::"
_EDGES = "core/test_edges.py::"
_ERRORS = "core/test_errors.py::"
_FOLDERS = "recipes/test_damaged_folders.py::"
_HOSTILE = "recipes/vision/test_hostile_data.py::"
_OPTIONS = "attack/test_options.py::"
_READERS = "attack/test_readers.py::test_a_damaged_input_is_refused_or_read_rightly"
_READING = "recipes/test_reading.py::"
_REPORT = "recipes/test_report.py::"
_SHARDS = "recipes/test_shards.py::"
_STOPPING = "recipes/test_stopping.py::"
_TEXT = "recipes/test_text.py::"
_TOKENIZE = "recipes/test_tokenize.py::"
_TRANSPARENCY = "core/test_transparency.py::"


class Point(NamedTuple):
    """A property and its tests.

    Args:
        name: Short, with the number of the point that it belongs to.
        holds: The property.
        tests: `FILE::FUNCTION`, below `tests/`.
    """

    name: str
    holds: str
    tests: tuple[str, ...]


DATA = (
    Point(
        "1 cut input",
        "Compressed or framed input that ends early is an error, wherever it ends, with the file "
        "and how far it is good.",
        (
            _READING + "test_a_file_that_is_cut_anywhere_is_refused",
            _READING + "test_a_long_file_that_is_cut_says_how_far_it_is_good",
            _TOKENIZE + "test_a_compressed_file_that_ends_between_two_lines_is_refused",
            _TOKENIZE + "test_a_parquet_file_that_is_cut_is_refused",
            "recipes/vision/test_data.py::test_a_damaged_cifar_archive_is_named",
        ),
    ),
    Point(
        "2 not text",
        "Files that are not text in the encoding are named and counted; one that was named is an "
        "error; other encodings can be asked for.",
        (
            _TOKENIZE + "test_files_that_are_no_text_are_named_and_counted",
            _TOKENIZE + "test_other_encodings_give_the_text",
            _TOKENIZE + "test_an_encoding_that_is_none_is_one_error",
            _TEXT + "test_a_file_that_is_named_and_is_no_text_is_an_error",
        ),
    ),
    Point(
        "3 changed input",
        "Tokenising goes on only with inputs of the same content, not only of the same size.",
        (_TOKENIZE + "test_a_file_of_the_same_size_is_another_input",),
    ),
    Point(
        "4 older checkpoints",
        "A run whose checkpoints cannot be read does not begin anew without a word.",
        (_FOLDERS + "test_refused_with_one_line", _FOLDERS + "test_resumed_bit_for_bit"),
    ),
    Point(
        "4 others' files",
        "Nothing is deleted that the program did not make.",
        (_TOKENIZE + "test_nothing_of_others_is_deleted", _DAMAGE + "test_others_files_stay"),
    ),
    Point(
        "4 index of shards",
        "A folder with shards in it is read as tokens or refused, never as text; any change of "
        "its index is noticed.",
        (
            _SHARDS + "test_any_change_of_the_index_is_noticed",
            _SHARDS + "test_damage_is_one_clear_error",
            _SHARDS + "test_what_no_index_can_say_is_refused",
        ),
    ),
    Point(
        "4 one name",
        "Of two runs begun with one name, at once or later, the second is refused.",
        (
            _DAMAGE + "test_a_second_process_and_a_second_run_of_one_name_are_refused",
            _DAMAGE + "test_of_two_runs_begun_at_once_the_second_is_refused",
        ),
    ),
    Point(
        "4 pixels and labels",
        "Grey images of 16 bits keep their greys, and labels that are not integers are refused.",
        (
            _HOSTILE + "test_sixteen_bits_keep_their_greys",
            _HOSTILE + "test_sixteen_bits_of_a_folder_keep_their_mean",
            _HOSTILE + "test_labels_that_are_no_integers_are_refused",
        ),
    ),
    Point(
        "4 empty and absurd options",
        "An empty value and numbers outside the declared range are errors; so is `--name` where "
        "it would be ignored.",
        (
            _OPTIONS + "test_an_absurd_value_is_refused_in_one_line_or_taken_as_it_is",
            _OPTIONS + "test_bounds_are_where_the_declaration_has_them",
            "recipes/test_given.py::test_a_resumed_run_keeps_its_name_and_place",
        ),
    ),
    Point(
        "4 same data, same configuration",
        "A resumed run notices a token replaced anywhere, and a configuration that cannot be.",
        (
            _DAMAGE + "test_any_token_replaced_changes_the_fingerprint",
            _DAMAGE + "test_a_damaged_configuration",
        ),
    ),
)

LIMITS = (
    Point(
        "5 pickles",
        "A pickle takes no more memory than its size explains.",
        (
            _HOSTILE + "test_a_memo_index_takes_no_memory",
            _HOSTILE + "test_references_to_one_object_are_no_images",
            _HOSTILE + "test_a_text_encoded_again_and_again_is_refused",
        ),
    ),
    Point(
        "5 archives and compressed files",
        "Decompression stops at what such data can hold.",
        (
            _READING + "test_a_bomb_stops_at_the_limit",
            _CRAFTED + "test_a_tar_bomb",
            _CRAFTED + "test_a_gzip_stream_of_one_member",
            _CRAFTED + "test_a_sparse_member",
            _CRAFTED + "test_an_idx_bomb",
            _HOSTILE + "test_an_idx_header_beyond_the_family_is_refused",
            _HOSTILE + "test_an_npz_of_zeros_is_refused_by_its_size",
        ),
    ),
    Point(
        "5 text",
        "Lines, words and ids have a longest; parquet pages are measured before they are read.",
        (
            _TOKENIZE + "test_a_line_longer_than_any_document_is_refused",
            _TEXT + "test_a_long_word_does_not_hold_up_the_training_of_a_tokenizer",
            _TEXT + "test_an_id_that_no_vocabulary_has_is_refused",
            "attack/test_crafted_parquet.py::test_a_page_that_takes_thousands_of_times_its_size",
            "attack/test_crafted_parquet.py::test_one_long_text_in_many_rows",
        ),
    ),
    Point(
        "5 images",
        "Pixels are counted before they are decoded, for one image and for a folder.",
        (
            _HOSTILE + "test_a_large_flat_image_is_refused_before_it_is_decoded",
            _HOSTILE + "test_the_largest_images_are_decoded_one_at_a_time",
            _HOSTILE + "test_small_files_that_become_much_are_not_kept",
            _CRAFTED + "test_many_small_files_of_many_pixels",
            _CRAFTED + "test_a_jpeg_of_many_scans",
        ),
    ),
    Point(
        "5 checkpoints",
        "Arrays and layers of a checkpoint are as many as its bytes can be.",
        (
            "attack/test_crafted_checkpoints.py::test_an_array_that_the_file_cannot_hold",
            "attack/test_crafted_checkpoints.py::test_a_layer_that_the_file_cannot_hold",
            "attack/test_crafted_checkpoints.py::test_thousands_of_small_layers",
        ),
    ),
    Point(
        "6 pickles are data",
        "No pickle runs code or changes what a later file meets.",
        (
            _HOSTILE + "test_a_stand_in_has_no_state_to_set",
            "recipes/vision/test_data.py::test_a_malicious_pickle_does_not_run",
        ),
    ),
    Point(
        "6 formats of images",
        "Only the documented formats are opened, whatever the name.",
        (_HOSTILE + "test_postscript_named_png_starts_nothing",),
    ),
    Point(
        "6 inside the folder",
        "Names and links do not lead out of the folder that was named, and what is no regular "
        "file is refused instead of waited for.",
        (
            _READING + "test_a_name_that_leads_out_of_the_folder_is_refused",
            _READING + "test_what_is_no_regular_file_is_refused",
            _REPORT + "test_only_regular_files_inside_the_folder_are_read",
            _REPORT + "test_a_linked_folder_is_named_and_not_followed",
            _SHARDS + "test_a_shard_is_a_file_in_its_folder",
            _TOKENIZE + "test_a_fifo_does_not_hang",
            _HOSTILE + "test_a_fifo_is_no_image",
        ),
    ),
    Point(
        "6 known holes",
        "No lower bound admits a version with a known hole, and each package was looked at.",
        ("core/test_lower_bounds.py::test_lower_bound",),
    ),
)

MESSAGES = (
    Point(
        "7 options",
        "Any value of any option is refused in one line or taken as it is.",
        (
            _OPTIONS + "test_an_absurd_value_is_refused_in_one_line_or_taken_as_it_is",
            _OPTIONS + "test_a_caller_and_a_file_meet_the_same_bounds_as_the_command_line",
            _OPTIONS + "test_bounds_are_where_the_declaration_has_them",
            "attack/test_option_runs.py::test_runs_are_refused_in_one_line_or_mean_what_was_asked",
        ),
    ),
    Point(
        "7 one class of errors",
        "What is the user's to mend is one line and status 2, whatever its words.",
        ("recipes/test_options.py::test_an_error_of_the_users_is_one_line_whatever_it_says",),
    ),
    Point(
        "8 readers",
        "Damaged files of every kind are refused by the reader's own error or read rightly.",
        (
            _READERS,
            _HOSTILE + "test_a_header_that_numpy_cannot_parse_is_refused",
            _CRAFTED + "test_a_pax_header_with_an_absurd_size",
            _TOKENIZE + "test_parquet_that_is_not_utf8_is_one_error",
        ),
    ),
    Point(
        "8 caches",
        "A damaged file of the cache is set aside and made again.",
        (_TEXT + "test_a_damaged_file_of_the_cache_is_made_again",),
    ),
    Point(
        "8 reports",
        "Numbers at the edges, odd text and deep JSON do not stop a report with a traceback.",
        (
            _REPORT + "test_numbers_at_the_edges",
            _REPORT + "test_odd_json",
            _REPORT + "test_a_corrupt_file_is_named_and_nothing_is_written",
        ),
    ),
    Point(
        "9 constants",
        "Constants that the dtype of the state does not hold are refused when it is made.",
        (_EDGES + "test_constants_beyond_the_dtype_are_refused",),
    ),
    Point(
        "9 rates",
        "A rate that is not finite never reaches a weight.",
        (
            _EDGES + "test_an_unusable_rate_of_a_base_schedule_keeps_the_last_one",
            _EDGES + "test_a_rate_that_is_set_beyond_the_dtype",
            _EDGES + "test_no_curvature_growth_whatever_the_exponent",
            _EDGES + "test_a_power_of_the_gap_beyond_the_largest_number",
            _EDGES + "test_a_window_of_losses_whose_sum_overflows",
            _EDGES + "test_combinations_from_the_edges",
        ),
    ),
    Point(
        "9 base schedules",
        "Any Keras schedule can be the base, registered and serialisable or not.",
        (_EDGES + "test_any_schedule_is_a_base",),
    ),
    Point(
        "10 usable after an error",
        "After an error of this library within the step a model can be trained on.",
        (
            _ERRORS + "test_a_model_is_usable_after_the_error_that_no_loss_arrived",
            _ERRORS
            + "test_a_model_is_usable_after_the_error_that_the_optimizer_does_not_see_the_loss",
        ),
    ),
    Point(
        "10 errors at compile time",
        "Keras' own loss scaling around the wrapper is refused when it is written.",
        (
            "core/test_training_options.py::test_keras_own_loss_scaling_swallows_the_loss",
            _TRANSPARENCY + "test_the_wrong_way_round_is_refused_when_it_is_written",
        ),
    ),
    Point(
        "11 the line to add",
        "Who wrote a train step reads the one line to add, not of mixed precision.",
        (
            _CUSTOM + "test_a_custom_train_step_that_forgets_the_loss_is_told_so",
            _ERRORS + "test_no_loss_arrived",
        ),
    ),
    Point(
        "12 numbers on replicas",
        "What is read from the wrapper outside a step is a number under MirroredStrategy too.",
        (_TRANSPARENCY + "test_what_is_read_is_a_number_under_mirrored_strategy",),
    ),
    Point(
        "13 attention on a TPU",
        "Keras' call of the kernel is not used; the recipes' own is compared with plain attention "
        "before it is used, and runs on each of several devices.",
        (
            "recipes/test_attention.py::test_keras_own_call_of_the_kernel_is_causal_and_unscaled",
            "recipes/test_attention.py::test_a_wrong_kernel_is_not_trusted",
            "recipes/test_attention.py::test_a_vision_transformer_takes_the_kernel",
            "recipes/test_attention.py::test_language_models_take_the_kernel",
            "recipes/test_attention.py::test_the_kernel_in_half_precision_over_two_devices",
        ),
    ),
)

WRAPPER = (
    Point(
        "14 options and methods",
        "Every public attribute and method of every Keras optimizer works on the wrapper.",
        (
            _TRANSPARENCY + "test_every_public_attribute",
            _TRANSPARENCY + "test_an_option_set_later_acts_as_one_given_at_first",
            _TRANSPARENCY + "test_exclude_from_weight_decay",
            _TRANSPARENCY + "test_set_weights_restores_every_variable",
            "core/test_every_optimizer.py::test_same_weights_with_every_option",
            "upstream/test_keras_own_tests.py::test_keras_own_tests_on_wrapped_optimizers",
        ),
    ),
    Point(
        "15 the rate",
        "`learning_rate` is the base rate, exactly, for every callback that reads and writes it.",
        (
            _TRANSPARENCY
            + "test_callbacks_leave_the_base_rate_that_they_leave_on_a_plain_optimizer",
            _CUSTOM + "test_setting_and_reading_the_rate",
            "core/test_fit.py::test_logger_to_history_csv_and_tensorboard",
        ),
    ),
    Point(
        "15 inside a MultiOptimizer",
        "The wrapper within a MultiOptimizer is refused with what to write instead.",
        (_TRANSPARENCY + "test_the_wrong_way_round_is_refused_when_it_is_written",),
    ),
    Point(
        "15 what it shows",
        "The configuration has the rate and the representation the optimizer inside.",
        ("core/test_saving.py::test_the_configuration_and_the_text_show_what_is_inside",),
    ),
    Point(
        "16 logging",
        "The logger records each rate of a MultiOptimizer, to the last batch.",
        (
            _TRANSPARENCY + "test_the_logger_records_each_rate_of_a_multi_optimizer",
            "core/test_fit.py::test_tensorboard_logs_the_effective_rate",
        ),
    ),
    Point(
        "16 the warm-up callback",
        "It leaves evaluate and predict alone, and the model can be checkpointed afterwards.",
        (
            _TRANSPARENCY
            + "test_the_warm_up_callback_in_evaluate_and_predict_leaves_the_optimizer",
            _TRANSPARENCY + "test_a_warmed_up_model_can_be_checkpointed",
        ),
    ),
    Point(
        "16 losses below the bound",
        "A negative loss is told, once; weights of samples and classes act through the loss.",
        (
            _TRANSPARENCY + "test_a_negative_loss_is_told_once",
            _TRANSPARENCY + "test_a_negative_loss_is_told_at_the_end_of_fit_without_any_callback",
            "core/test_models.py::test_sample_weights",
            "core/test_models.py::test_class_weights",
        ),
    ),
    Point(
        "17 large reports",
        "What is drawn is thinned, what is embedded is capped, what is no file is refused.",
        (
            _REPORT + "test_what_is_large_is_thinned_and_the_page_says_so",
            _REPORT + "test_a_line_of_many_points_is_drawn_with_few",
            _REPORT + "test_only_regular_files_inside_the_folder_are_read",
        ),
    ),
)

RESUME = (
    Point(
        "18 one process",
        "One process works in a run folder; a second is refused in one line.",
        (
            _FOLDERS + "test_of_two_processes_at_once_one_runs_and_the_other_is_refused",
            _DAMAGE + "test_a_second_process_and_a_second_run_of_one_name_are_refused",
        ),
    ),
    Point(
        "19 checkpoints and tables",
        "The step inside a checkpoint counts; strays are named; tables with missing or doubled "
        "rows are refused.",
        (
            _FOLDERS + "test_resumed_bit_for_bit",
            _FOLDERS + "test_refused_with_one_line",
            _FOLDERS + "test_there_are_as_many_kinds_as_are_promised",
            _DAMAGE + "test_stray_names_are_no_checkpoints",
            _DAMAGE + "test_rows_doubled_or_missing_are_said",
            _DAMAGE + "test_evaluations_doubled_missing_or_unordered_are_said",
        ),
    ),
    Point(
        "20 signals",
        "Ctrl-C within a compilation, SIGTERM and SIGHUP stop the run, with a checkpoint.",
        (
            _STOPPING + "test_an_interrupt_that_a_compiler_swallows_stops_the_run",
            _STOPPING + "test_a_signal_leaves_a_checkpoint",
        ),
    ),
    Point(
        "20 kills",
        "A run that is killed at any moment ends as the one that was not.",
        ("recipes/test_kill.py::test_killed_at_random_moments_it_ends_as_if_it_had_not_been",),
    ),
    Point(
        "21 versions",
        "The lower bound of Keras is the version that has what is used.",
        ("core/test_lower_bounds.py::test_lower_bound",),
    ),
    Point(
        "21 files of Keras",
        "Legacy and present files keep no less and no more than with plain Keras.",
        (
            "core/test_saving_h5.py::test_h5_keeps_the_weights_and_the_configuration",
            "core/test_saving_h5.py::test_h5_goes_on_no_better_and_no_worse_than_plain_keras",
            "core/test_saving_h5.py::test_keras_keeps_every_variable_of_the_optimizer",
            "core/test_saving_h5.py::test_neither_file_keeps_the_states_of_seed_generators",
        ),
    ),
    Point(
        "21 damaged checkpoints",
        "Every damage of a checkpoint is noticed, and no crafted one runs code.",
        (
            "recipes/test_checkpoints.py::test_every_damage_is_noticed",
            "attack/test_crafted_checkpoints.py::test_more_layers_than_the_file_holds_however_small",
        ),
    ),
)

POINTS = (*DATA, *LIMITS, *MESSAGES, *WRAPPER, *RESUME)
