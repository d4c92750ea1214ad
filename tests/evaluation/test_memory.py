"""Memory that is kept from one step to the next."""

import platform
import sys

import pytest
import torch

from advbench.evaluation.memory import keep_memory


@pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="other allocators keep what they like"
)
def test_freed_memory_is_not_faulted_in_again():
    import resource

    def step():
        return [torch.zeros(2**19) for _ in range(8)]  # 2 MiB each

    keep_memory(torch.device("cpu"))
    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        step()
    pages = 20 * 8 * 2**21 / resource.getpagesize()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 0.1 * pages
