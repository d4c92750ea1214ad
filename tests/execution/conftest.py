import accidents
import pytest
from accidents import finish

import advbench


@pytest.fixture(scope="session")
def golden(tmp_path_factory):
    """A run without any accident; never written to."""
    out = tmp_path_factory.mktemp("golden") / "run"
    assert finish(accidents.plain, out) == 0
    return advbench.load_run(out)
