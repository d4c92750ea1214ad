"""How models rank from threat to threat, by the suite `profile`: `python -m tests.peers.rankings`.

The networks are the digit classifiers of the zoo, on digits that ship with the package, and EfficientNets, on
photographs in the folder `shared` next to the repository. The runs are kept in a folder, so an interrupted run can be
resumed.
"""

from pathlib import Path
from typing import Any, NamedTuple

from advbench.api import load_run
from advbench.api import run as run_suite
from advbench.config.data.name import parse_data
from advbench.config.models.model import ModelSpec
from advbench.config.suite import Suite
from advbench.config.suite_files import load_suite, on_other_data, on_other_models
from advbench.report.profile.rankings import ORDER_CAPTION, TAU_CAPTION, Grid, ranking_pages
from tests.peers.machine import processor, processors
from tests.peers.report import PEERS, Report, parser_for
from tests.peers.victims import SHARED


class Zoo(NamedTuple):
    """Networks for the same images."""

    models: tuple[str, ...]
    data: str
    images: int


ZOOS = {
    "mnist": Zoo(
        ("mnist_convnet", "mnist_convnet_robust", "lenet", "lenet_scrambled", "mlp_mnist", "mlp_scrambled"),
        "mnist",
        60,
    ),
    "photographs": Zoo(
        ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"),
        f"folder:{SHARED / 'data/imagenet-sample/even'},label=photographs",
        40,
    ),
}
_HEAD = """# How models rank from threat to threat

Made by `python -m tests.peers.rankings`; the numbers are in `rankings.json`. The suite is `profile`, with its budgets
for the data; measured on {processor}.

If two threats rank the same models differently, choosing a model by one of them says nothing about the other.
"""


def main() -> None:
    parser = parser_for("rankings", __doc__)
    parser.add_argument("--only", nargs="+", choices=ZOOS, help="default: all")
    parser.add_argument(
        "--runs", type=Path, default=Path("reports/rankings"), metavar="FOLDER", help="folder of the runs"
    )
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--page", action="store_true", help="only rewrite the page from finished runs")
    parser.add_argument("--out", type=Path, default=PEERS, metavar="FOLDER", help="folder of the page")
    options = parser.parse_args()
    report = Report(options.out, "rankings", _page)
    found = {"zoos": {}} | report.stored()
    for name in options.only or ZOOS:
        folder = options.runs / name
        run = load_run(folder) if options.page else run_suite(_suite(ZOOS[name]), out=folder, workers=options.workers)
        (ranking,), (page,) = run.analysis.rankings, ranking_pages(run.analysis.rankings)
        grids = {"order": page.order._asdict(), "tau": page.tau._asdict()}
        earlier = found["zoos"].get(name) if options.page else None
        found["zoos"][name] = {
            "images": ZOOS[name].images,
            "title": page.title,
            **ranking.as_dict(),
            "grids": grids,
            "processor": earlier["processor"] if earlier else processor(),
        }
        report.save(found)


def _suite(zoo: Zoo) -> Suite:
    suite = on_other_models(load_suite("profile"), tuple(ModelSpec(name=name) for name in zoo.models))
    return on_other_data(suite.model_copy(update={"images": zoo.images}), (parse_data(zoo.data),))


def _page(found: dict[str, Any]) -> str:
    lines = [_HEAD.format(processor=processors(found["zoos"].values()))]
    for zoo in found["zoos"].values():
        lines += [f"## {zoo['title']}", "", f"{zoo['images']} images.", ""]
        for caption, name in ((ORDER_CAPTION, "order"), (TAU_CAPTION, "tau")):
            lines += [f"{caption}:", "", *_table(Grid(**zoo["grids"][name])), ""]
    return "\n".join(lines)


def _table(grid: Grid) -> list[str]:
    head = [f"| {' | '.join(grid.headings)} |", f"|:--|{'--:|' * (len(grid.headings) - 1)}"]
    return head + [f"| {' | '.join(row)} |" for row in grid.rows]


if __name__ == "__main__":
    main()
