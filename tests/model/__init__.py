"""providerd beside a small model of it."""

import pytest

# The assertions are in plain modules; without this a failure would not say what was compared.
pytest.register_assert_rewrite(
    "tests.model.answers", "tests.model.judge", "tests.model.machine", "tests.model.watching"
)
