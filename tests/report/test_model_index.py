"""The front matter of a model card: what a card reads from it is what the run says."""

import pytest
from frames import images, row
from runs import SUITE, a_run, a_unit
from threat_rows import foggy

from advbench.analysis.gates import evaluate
from advbench.config.gates import Gates
from advbench.report.exchange.model_index import as_model_index

ROWS = [*images([0.01, None, 0.02, None] * 5), *images([None] * 20, attack="noise")]
FLAG = {
    "id": "M4", "severity": "F", "model": "net", "dataset": "toy", "attack": None, "value": 1.0,
    "message": "m", "advice": "a",
}  # fmt: skip


def card(rows=ROWS, **options):
    run = a_run(rows, **options)
    run.manifest["classes"] = {}
    return as_model_index(evaluate(run, Gates()), run)


def test_the_whole_of_it():
    assert (
        card(flags=[FLAG])
        == """\
---
# advbench run 0123456789abcdef: DONE: no gates were set
# an image of which nothing is known counts as not robust
model-index:
- name: "net"
  results:
  - task:
      type: "image-classification"
      name: "Image Classification"
    dataset:
      type: "toy"
      name: "toy"
    metrics:
    - type: "accuracy"
      value: 1.0
      name: "Accuracy"
      args:
        correct: 20
        images: 20
        unknown: 0
        low: 0.838874842
        high: 1.0
    - type: "robust_accuracy"
      value: 0.5
      name: "Robust accuracy, untargeted · Linf ≤ 8/255, worst case over attacks (in doubt: M4)"
      args:
        goal: "untargeted"
        norm: "linf"
        eps: 0.031372549
        attacks: "pgd"
        correct: 10
        images: 20
        unknown: 0
        low: 0.299298008
        high: 0.700701992
---
"""
    )


def test_errors_under_corruptions():
    """A run of corruptions alone had an empty card."""
    text = card([*foggy(1, {0}), *foggy(5, {0, 3})])
    assert "# an image of which nothing is known counts as not robust, and as an error\n" in text
    kinds = [line.split('"')[1] for line in text.splitlines() if line.startswith("    - type")]
    assert kinds == ["accuracy", "corruption_error", "corruption_error"]
    assert text.endswith(
        """\
    - type: "corruption_error"
      value: 0.375
      name: "Error under fog, mean over severities"
      args:
        corruption: "fog"
        severity_1: 0.25
        severity_5: 0.5
        images: 4
        unknown: 0
        low: 0.093238307
        high: 0.777830801
---
"""
    )


def test_mean_corruption_errors_of_imagenet_say_what_they_cover():
    rows = [each for severity in range(1, 6) for each in foggy(severity, {0})]
    run = a_run(rows)
    run.manifest["classes"] = {"toy": [f"class {i}" for i in range(1000)]}
    verdict = evaluate(run, Gates())
    (found,) = verdict.analysis.corruptions
    text = as_model_index(verdict, run)
    covers = "over 1 of the 15 corruptions; AlexNet has 1"
    for kind, name, mean in (("mce", "mCE", found.mce), ("relative_mce", "Relative mCE", found.relative_mce)):
        value = f"{mean.value:.9f}".rstrip("0")
        assert f'- type: "{kind}"\n      value: {value}\n      name: "{name} {covers}"\n' in text


def test_errors_that_must_not_be_used_say_so():
    """As in the gate: a flag of severity F, such as one about gradients, leaves these numbers as they are."""
    text = card(foggy(1, {0}), flags=[FLAG | {"id": "M1", "severity": "E"}, FLAG])
    assert text.count(" (in doubt: M1)") == 2
    assert "M4" not in text


def test_errors_stand_after_the_attacks_on_the_same_images():
    text = card([*images([0.01, None, 0.02, None]), *foggy(1, {0}), *foggy(1, {0}, dataset="other")])
    assert text.count('- name: "') == 1
    assert text.count("task:") == 2
    kinds = [line.split('"')[1] for line in text.splitlines() if line.startswith("    - type")]
    of_other, of_toy = ["accuracy", "corruption_error", "corruption_error"], ["accuracy", "robust_accuracy"]
    assert kinds == [*of_other, *of_toy, "corruption_error", "corruption_error"]


def test_an_unknown_image_counts_as_an_error():
    rows = foggy(1, {0})
    rows[1] |= {"status": "unknown", "adv_class": None, "met": None, "flipped": None}
    text = card(rows)
    assert '      value: 0.5\n      name: "Mean error under corruptions"' in text
    assert "unknown: 1\n" in text


def test_without_labels_errors_are_changed_predictions():
    text = card([each | {"label": None} for each in foggy(1, {0})])
    assert '"accuracy"' not in text
    assert '"Share of changed predictions under fog, mean over severities"' in text


def test_a_data_set_of_the_hub_goes_by_its_name_there():
    suite = SUITE | {"datasets": [{"name": "hf/uoft-cs/cifar10", "split": "test", "label": "toy"}]}
    assert 'type: "uoft-cs/cifar10"\n      name: "toy"\n      split: "test"\n' in card(suite=suite)


def test_without_labels_there_is_no_accuracy():
    text = card([r | {"label": None} for r in ROWS])
    assert '"accuracy"' not in text
    assert "Share of unchanged predictions, untargeted" in text


def test_an_unfinished_run_says_so():
    assert "# advbench run 0123456789abcdef: INCOMPLETE: 1 unit" in card(missing=[a_unit(["s0"])])


def test_every_model_has_an_entry():
    text = card([r | {"model": name} for name in ("b", "a") for r in ROWS])
    assert text.count('- name: "') == 2
    assert text.index('- name: "a"') < text.index('- name: "b"')


def test_no_numbers_are_no_results():
    assert "model-index: []\n" in card([])


def test_numbers_are_numbers_in_yaml():
    yaml = pytest.importorskip("yaml", reason="needs the package pyyaml")
    rows = [row(f"s{i}", eps=1e-5) for i in range(3)]
    (found,) = yaml.safe_load(card(rows).strip("-\n"))["model-index"]
    robust = found["results"][0]["metrics"][1]
    assert robust["args"]["eps"] == 1e-5
    assert all(isinstance(robust["args"][name], float) for name in ("eps", "low", "high"))


@pytest.mark.parametrize("name", ["[red]", "a: b", "- x", "# y", '"', "\\", "\x1b\n", "虎", "null", "x" * 300, "---"])
def test_hostile_names_stay_names(name):
    yaml = pytest.importorskip("yaml", reason="needs the package pyyaml")
    text = card([r | {"model": name, "dataset": name, "goal": f"targeted:{name}"} for r in ROWS])
    (entry,) = yaml.safe_load(text.removeprefix("---\n").removesuffix("---\n"))["model-index"]
    assert isinstance(entry["name"], str)
    if name.isprintable() and len(name) < 80:
        assert entry["name"] == entry["results"][0]["dataset"]["name"] == name


@pytest.mark.filterwarnings("ignore")
def test_a_model_card_reads_it():
    hub = pytest.importorskip("huggingface_hub", reason="needs the package huggingface_hub")
    read = hub.ModelCard(f"{card()}\n# Net\n").data
    assert read.model_name == "net"
    assert [(e.task_type, e.dataset_name, e.metric_type, e.metric_value) for e in read.eval_results] == [
        ("image-classification", "toy", "accuracy", 1.0),
        ("image-classification", "toy", "robust_accuracy", 0.5),
    ]
    assert read.eval_results[1].metric_args["images"] == 20
    again = hub.ModelCardData(model_name="net", eval_results=read.eval_results).to_dict()["model-index"]
    assert again[0]["results"][0]["metrics"][1]["value"] == 0.5
