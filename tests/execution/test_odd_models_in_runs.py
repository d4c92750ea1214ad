"""Models that change, remember or share parts, in whole runs: a right result, or a sentence that says what is wrong."""

import pytest
from odd_models import ODD

import advbench
from advbench.models.classifier import Classifier

SUITE = {
    "name": "odd", "datasets": "mnist", "images": 6, "eps": {"linf": 0.1}, "noise": False, "models": "odd",
    "attacks": ["pgd", {"name": "adaptive", "max_passes": 60}],
}  # fmt: skip
SAID = {
    "ChangesItself": ("M1", "E", "every pass changes the model ("),
    "Alternates": ("M2", "F", "5 passes over the same images differ by up to "),
    "Remembers": ("M2", "F", "5 passes over the same images differ by up to "),
    "WithoutGradient": ("M6", "F", "there is no gradient: "),
    "Shares": ("M8", "F", "steps without a gradient inside (round)"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_run_says_what_is_odd(name, tmp_path):
    net = advbench.load_model("lenet")
    handle = net.module.register_forward_hook(lambda *_: None)
    odd = Classifier(ODD[name](net), num_classes=10, mean=[0.0], input_size=28)
    done = advbench.run(SUITE, models={"odd": odd}, out=tmp_path / "run", workers=1)
    assert done.complete
    assert handle.id in net.module._forward_hooks
    flags = {flag.id: flag for flag in done.analysis.flags if flag.severity in "EF"}
    if name not in SAID:
        assert flags == {}
        assert set(done.frame["status"]) == {"ok"}
        return
    flag, severity, message = SAID[name]
    assert flags[flag].severity == severity
    assert message in flags[flag].message
