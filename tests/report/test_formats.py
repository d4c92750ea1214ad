"""The table of report formats: every form makes a text of a run, under an extension of its own."""

import pytest
from frames import images
from runs import a_run

from advbench.analysis.gates import evaluate
from advbench.cli.report import report
from advbench.config.gates import Gates
from advbench.report.formats import FORMATS, describe_formats, render

RUN = a_run(images([0.01, None] * 3))


# there are no rates of labels to report on in a run of one class for each image
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "labels-csv"])
def test_each_form_names_what_it_reports_on(name):
    assert "pgd" in render(name, evaluate(RUN, Gates()), RUN)


def test_extensions_are_distinct():
    assert len({form.extension for form in FORMATS.values()}) == len(FORMATS)


def test_the_command_offers_what_the_table_has():
    option = next(each for each in report.params if each.name == "form")
    assert list(option.type.choices) == list(FORMATS)
    assert option.help == describe_formats()
