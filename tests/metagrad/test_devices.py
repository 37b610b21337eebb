"""The same meta-gradients on one device, with problems spread over four, and with a step's examples spread over two."""

import pytest

from tests import programs


@pytest.mark.parametrize("program", ["program_problems", "program_examples"])
def test_devices_share_the_work_and_give_what_one_gives(program):
    assert programs.run(f"metagrad.{program}", devices=4, JAX_ENABLE_X64="1").strip() == "equal"
