"""Every reader survives damaged input: `make attack` is the long form."""

import pytest

from tests.attack.harness import attack
from tests.attack.targets import all_targets
from tests.backends import only_on

pytestmark = only_on("tensorflow", reason="readers do not depend on the backend")


@pytest.mark.parametrize("name", all_targets())
def test_a_damaged_input_is_refused_or_read_rightly(name):
    target = all_targets()[name]
    counts = attack(target, count=60)
    assert not counts.wrong, "\n".join(counts.wrong[:5])
    # The inputs are damaged indeed.
    assert target.mends or counts.refused + counts.acceptable > 10
