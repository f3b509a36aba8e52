"""Which settings of PostgreSQL are warned of, and which are not."""

import pytest

from providerd_server.store.statement_logging import warnings_of

DEFAULTS = {
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_statement_sample_rate": "1",
    "log_transaction_sample_rate": "0",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "0",
    "debug_print_plan": "off",
    "auto_explain.log_min_duration": "-1",
    "auto_explain.log_parameter_max_length": "-1",
    "auto_explain.log_verbose": "off",
    "pgaudit.log_parameter": "off",
}


@pytest.mark.parametrize(
    ("settings", "cause", "remedy"),
    [
        ({"log_statement": "all"}, "log_statement=all", "log_parameter_max_length = 0"),
        ({"log_min_duration_statement": "0"}, "log_min_duration_statement=0", "log_parameter_max_length = 0"),
        ({"log_min_duration_sample": "250"}, "log_min_duration_sample=250", "log_parameter_max_length = 0"),
        ({"log_transaction_sample_rate": "0.01"}, "log_transaction_sample_rate=0.01", "log_parameter_max_length = 0"),
        (
            {"log_statement": "all", "log_min_duration_statement": "100", "log_parameter_max_length": "8"},
            "log_statement=all, log_min_duration_statement=100",
            "log_parameter_max_length = 0",
        ),
        (
            {"log_parameter_max_length_on_error": "-1"},
            "log_parameter_max_length_on_error",
            "log_parameter_max_length_on_error = 0",
        ),
        (
            {"auto_explain.log_min_duration": "0"},
            "auto_explain.log_min_duration",
            "auto_explain.log_parameter_max_length = 0",
        ),
        (
            {
                "auto_explain.log_min_duration": "0",
                "auto_explain.log_parameter_max_length": "0",
                "auto_explain.log_verbose": "on",
            },
            "auto_explain.log_verbose",
            "auto_explain.log_verbose = off",
        ),
        ({"pgaudit.log_parameter": "on"}, "pgaudit.log_parameter", "pgaudit.log_parameter = off"),
        ({"debug_print_plan": "on"}, "debug_print_plan", "debug_print_plan = off"),
    ],
)
def test_what_would_write_keys_is_named_with_what_to_do(settings: dict[str, str], cause: str, remedy: str) -> None:
    [warning] = warnings_of({**DEFAULTS, **settings}, '"the daemon"')
    assert warning.startswith(f"with {cause}, PostgreSQL writes API keys and the passphrase into its log: ")
    assert warning.endswith(f': as a superuser run ALTER ROLE "the daemon" SET {remedy}, then restart providerd')


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"log_statement": "mod"},
        {"log_statement": "all", "log_parameter_max_length": "0"},
        {"log_min_duration_sample": "0", "log_statement_sample_rate": "0"},
        {"auto_explain.log_verbose": "on"},
        {"auto_explain.log_min_duration": "0", "auto_explain.log_parameter_max_length": "0"},
    ],
)
def test_what_writes_none_is_not_warned_of(settings: dict[str, str]) -> None:
    assert warnings_of({**DEFAULTS, **settings}, "providerd") == []


def test_an_auto_explain_that_knows_no_parameters_is_not_warned_of() -> None:
    assert warnings_of({"auto_explain.log_min_duration": "0", "auto_explain.log_verbose": "off"}, "providerd") == []
