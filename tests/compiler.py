"""What a compiler makes of a program is that compiler's: such numbers hold for the one they were measured with."""

import jax
import pytest

measured = pytest.mark.skipif(jax.__version_info__ >= (0, 11), reason="measured with the compiler of jax 0.10")
