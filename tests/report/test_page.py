"""The HTML report: one file that loads nothing, with everything in it, whatever strangers call their classes."""

import base64
import http.server
import json
import re
import shutil
import subprocess
import threading
import xml.etree.ElementTree as ET
from pathlib import Path

import fakes
import numpy as np
import pytest
from click.testing import CliRunner
from frames import frame, images, many, row, unknown
from runs import MANIFEST, write_run
from safetensors.numpy import load_file, save_file

from advbench.analysis.gates import evaluate
from advbench.analysis.threats import gather
from advbench.cli.main import main
from advbench.config.gates import Gates
from advbench.records.adversarials import kept_rows
from advbench.records.stored_run import read_run
from advbench.report.html.document import render
from advbench.report.html.figures import DOUBT, curves, histogram
from advbench.report.html.gallery import KINDS, gallery
from advbench.report.html.page import as_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ROWS = [
    *(r for eps in (4 / 255, 8 / 255) for r in many(40, eps=eps)),
    *images([None] * 40, attack="noise"),
    *many(40, attack="fmn", eps=None),
    unknown("s40", attack="fmn", eps=None),
]
FLAG = {
    "id": "M4", "severity": "F", "model": "net", "dataset": "toy", "attack": None, "value": None,
    "message": "the outputs are probabilities", "advice": "leave the softmax out",
}  # fmt: skip


def with_pictures(folder, rows, *, size=8, channels=3, kept=3, **suite):
    """The folder of a run that kept the images of the first rows of each unit."""
    write_run(folder, rows, **suite)
    run = read_run(folder)
    generator = np.random.default_rng(0)
    (folder / "adv").mkdir()
    for unit in run.plan:
        shape = (min(kept, len(unit.samples)), channels, size, size)
        x = generator.random(shape, dtype=np.float32)
        x_adv = np.clip(x + generator.uniform(-0.1, 0.1, shape).astype(np.float32), 0, 1)
        logits = generator.normal(size=(2, len(x), 10)).astype(np.float32)
        tensors = {
            "rows": np.arange(len(x)),
            "x": x,
            "x_adv": x_adv,
            "clean_logits": logits[0],
            "adv_logits": logits[1],
        }
        save_file(tensors, folder / "adv" / f"{unit.unit_id}.safetensors")
    return folder


def page(folder, **gates):
    run = read_run(folder)
    return as_page(evaluate(run, Gates.model_validate(gates)), run)


def text_of(html):
    """What a reader sees, without the pictures."""
    body = re.sub(r"<style>.*?</style>|data:[^\"]*", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def test_everything_is_on_it(tmp_path):
    folder = with_pictures(tmp_path / "run", ROWS, kept=20, description="A run made by hand.")
    (folder / "flags.json").write_text(f"[{FLAG}]".replace("'", '"').replace("None", "null"))
    html = page(folder, min_robust_accuracy=0.9, max_unknown=0.5)
    text = text_of(html)
    for part in (
        "made A run made by hand. 1 model · 1 data set · 2 attacks · 41 images",
        "FAILED 2 of 3 gates failed",
        "M4 · net on toy the outputs are probabilities; leave the softmax out",
        "net on toy · untargeted · Linf ≤ 8/255",
        "clean accuracy 100.0 % (41/41) [91.4, 100.0]",
        "What the images were mistaken for",
        "Smallest perturbations",
        "Most confident mistakes",
        "Never broken",
        "run_id 0123456789abcdef",
        "once: RuntimeError: it is too much",
        "advbench run made.toml --out again",
    ):
        assert part in text
    assert html.count("<h3>net on toy · untargeted</h3>") == 1  # all its budgets stand under one name
    assert html.count("<img") == 2 + 3 * len(gallery(read_run(folder), {}))


def test_it_is_one_file_that_loads_nothing(tmp_path):
    html = page(with_pictures(tmp_path / "run", ROWS))
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in html
    assert not re.search(r"<(script|link|iframe|object|embed|base|form)\b", html)
    assert not re.search(r"\son\w+\s*=", html)
    assert set(re.findall(r'(?:src|href)="([^:"]*:?)', html)) == {"data:"}
    assert "@import" not in html
    assert "url(" not in html


def test_the_same_run_gives_the_same_page(tmp_path):
    folder = with_pictures(tmp_path / "run", ROWS)
    assert page(folder) == page(folder)


@pytest.mark.parametrize("rows", [[], images([0.01]), images([None], attack="noise"), [unknown("a", clean_class=None)]])
def test_a_run_of_next_to_nothing_has_a_page(tmp_path, rows):
    html = page(write_run(tmp_path / "run", rows), max_unknown=1)
    assert "No adversarial images were kept with this run" in html
    assert "nan" not in text_of(html).lower().split()


def test_a_run_that_is_not_finished_has_a_page(tmp_path):
    html = page(write_run(tmp_path / "run", ROWS, lost=1))
    assert "INCOMPLETE 1 unit of work not done" in text_of(html)
    assert "<u style=" in html  # hatched: unknown


def test_images_that_several_models_see_count_once(tmp_path):
    rows = [each for model in ("one", "other") for each in images([0.01, None], model=model)]
    assert "2 models · 1 data set · 1 attack · 2 images" in text_of(page(write_run(tmp_path / "run", rows)))


def test_without_labels_it_says_so(tmp_path):
    html = page(write_run(tmp_path / "run", [r | {"label": None} for r in images([0.01, None])]))
    assert "without labels: correct means classified as when clean" in html


def test_many_classes_are_listed_in_place_of_a_matrix(tmp_path):
    rows = [row(f"s{i}", label=i, clean_class=i, size=0.01, adv_class=i + 1) for i in range(30)]
    html = page(write_run(tmp_path / "run", rows))
    assert 'class="matrix"' not in html
    assert "tiger → &lt;b&gt;cat&lt;/b&gt;" in html
    assert "class 20" not in html
    assert "→ " in html.split("<h2>Pictures")[0].rpartition("<p>")[2]  # each was seen once: bars would say nothing
    twice = row("twice", label=0, clean_class=0, size=0.01, adv_class=1)
    html = page(write_run(tmp_path / "twice", [*rows, twice]))
    assert '<div class="value">2</div>' in html


@pytest.mark.parametrize(("size", "channels", "kind"), [(28, 1, "png"), (32, 3, "png"), (224, 3, "webp")])
def test_pictures_are_small_and_whole(tmp_path, size, channels, kind):
    folder = with_pictures(tmp_path / "run", ROWS, size=size, channels=channels, kept=20)
    found = gallery(read_run(folder), MANIFEST["classes"])
    assert {picture.kind for picture in found} == set(KINDS)
    assert len({picture.name for picture in found}) == len(found)
    for picture in found:
        assert picture.small is (size <= 96)
        assert all(address.startswith(f"data:image/{kind};base64,") for address in picture.images)
        assert len(picture.before) == len(picture.after) == 3
        assert sum(bar.first for bar in picture.before) == 1
        assert 0 <= sum(bar.percent for bar in picture.after) <= 100.2


def test_pictures_show_what_was_kept(tmp_path):
    import io

    from PIL import Image

    folder = with_pictures(tmp_path / "run", images([0.01]), size=4, kept=1)
    (picture,) = gallery(read_run(folder), MANIFEST["classes"])
    from safetensors.numpy import load_file

    tensors = load_file(next((folder / "adv").iterdir()))
    for address, values in zip(picture.images[::2], (tensors["x"], tensors["x_adv"]), strict=True):
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))
        assert (shown == np.rint(values[0].transpose(1, 2, 0) * 255)).all()
    assert picture.caption == "pgd · Linf 0.01"


def test_a_damaged_picture_file_does_not_stop_the_report(tmp_path):
    folder = with_pictures(tmp_path / "run", ROWS)
    first, second, *_ = sorted((folder / "adv").iterdir())
    first.write_bytes(b"\xff" * 100)
    second.write_bytes(second.read_bytes()[:50])
    (folder / "adv" / "stranger.safetensors").write_bytes(b"")
    assert "Smallest perturbations" in page(folder)


@pytest.mark.parametrize(
    "edit",
    [
        lambda held: {"rows": held["rows"] + 10**6},
        lambda held: {"rows": held["rows"] - 1},
        lambda held: {"rows": held["rows"].reshape(-1, 1)},
        lambda held: {"x": held["x"][:1]},
        lambda held: {"x_adv": held["x_adv"].reshape(len(held["x_adv"]), -1)},
    ],
    ids=["beyond", "negative", "shape", "fewer", "flat"],
)
def test_an_edited_picture_file_does_not_stop_the_report(tmp_path, edit):
    folder = with_pictures(tmp_path / "run", ROWS)
    first, *_ = sorted((folder / "adv").iterdir())
    held = load_file(first)
    save_file(held | edit(held), first)
    assert first.name not in {file for rows in kept_rows(read_run(folder)) for file in rows["file"]}
    assert "Smallest perturbations" in page(folder)


def test_a_thousand_images_make_a_page_below_5_megabytes(tmp_path):
    rows = [r for model in "abcd" for attack in ("pgd", "apgd") for r in many(1000, model=model, attack=attack)]
    folder = with_pictures(tmp_path / "run", rows, size=224)
    assert len(page(folder).encode()) < 5e6


def test_figures_are_svg_that_turns_dark():
    (evidence,) = gather(frame(ROWS))
    for figure in (curves(evidence), histogram(evidence)):
        root = ET.fromstring(figure.svg)
        assert root.tag.endswith("svg")
        assert b"prefers-color-scheme: dark" in figure.svg
        assert b"var(--ink)" in figure.svg
        assert b"#01020" not in figure.svg
    assert curves(evidence).alt.startswith("Robust accuracy against eps: in the worst case from 100.0 % clean to")
    assert "fmn" in histogram(evidence).alt
    assert curves(evidence) == curves(evidence)


def test_figures_mark_what_is_in_doubt_and_say_why():
    (evidence,) = gather(frame(ROWS))
    doubts = {trial.label: "M7, A5" for trial in evidence.trials if trial.label == "fmn"}
    for figure in (curves(evidence, doubts), histogram(evidence, doubts)):
        text = "".join(ET.fromstring(figure.svg).itertext())
        assert text.count(DOUBT) >= 2, "at the line or the number, and where it is explained"
        assert f"{DOUBT} in doubt: trust flag A5, M7" in text
        assert figure.alt.endswith(f"; {DOUBT} in doubt: trust flag A5, M7")
    assert DOUBT not in curves(evidence).svg.decode()
    assert DOUBT not in histogram(evidence).svg.decode()
    assert f"fmn {DOUBT}" in "".join(ET.fromstring(curves(evidence, doubts).svg).itertext())


def test_bars_in_doubt_are_marked_on_the_page(tmp_path):
    write_run(tmp_path / "run", ROWS)
    sure = page(tmp_path / "run")
    (tmp_path / "run" / "flags.json").write_text(json.dumps([FLAG]))
    found = page(tmp_path / "run")
    assert "; in doubt: M4" in found
    assert f'<span class="doubt">{DOUBT}</span> mark a number in doubt' in found
    assert 'class="bar doubted"' in found
    assert 'class="bar doubted"' not in sure
    assert DOUBT not in sure


def test_no_histogram_without_sizes():
    (evidence,) = gather(frame(images([0.01])))
    assert histogram(evidence) is None


EVIL = (
    "<script>document.title='hacked'</script>",
    "\"><img src=x onerror=document.title='hacked'>",
    "'; document.title='hacked'//",
    "{{ 7 * 7 }}",
    "</style><script>document.title='hacked'</script>",
    *fakes.HOSTILE,
)


def hostile_run(folder, port=9):
    """A run in which all names come from a stranger."""
    names = (f"<img src=http://127.0.0.1:{port}/leak>", *EVIL)
    rows = [
        r | {"model": name, "dataset": name, "goal": f"targeted:{name}", "attack": name, "sample_name": name}
        for name in names
        for r in images([0.01, None])
    ]
    classes = {name: list(names) for name in names}
    folder = with_pictures(folder, rows, description="".join(names))
    manifest = read_run(folder).manifest | {
        "classes": classes,
        "environment": {"commit": names[1]},
        "versions": {names[1]: names[1]},
    }
    from advbench.records.run_folder import RunFolder

    RunFolder(folder).write_manifest(manifest)
    return folder


def test_hostile_names_are_escaped(tmp_path):
    html = page(hostile_run(tmp_path / "run"))
    assert not re.search(r"<(script|iframe)\b", html)
    assert not re.search(r"<img(?! (class=\"\w*\" )?src=\"data:)", html)
    assert html.count("</style>") == 1
    assert "&lt;script&gt;" in html
    assert "{{ 7 * 7 }}" in html
    for address in re.findall(r"data:image/svg\+xml;base64,([^\"]*)", html):
        root = ET.fromstring(base64.b64decode(address))
        assert not [thing for thing in root.iter() if thing.tag.endswith(("script", "image", "foreignObject"))]


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_runs_nothing_and_asks_nobody(tmp_path):
    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        file = tmp_path / "report.html"
        file.write_text(page(hostile_run(tmp_path / "run", server.server_port)))
        control = tmp_path / "control.html"
        control.write_text(
            f"<title>x</title><img src=http://127.0.0.1:{server.server_port}/control><script>document.title='ran'</script>"
        )
        shown, ran = (dumped(path, tmp_path / f"{path.stem}.profile") for path in (file, control))
        server.shutdown()
    assert "<title>ran</title>" in ran
    assert asked == ["/control"]
    assert "<title>made · advbench</title>" in shown
    assert "hacked</title>" not in shown


def dumped(path: Path, profile: Path) -> str:
    """The page as a browser has it in the end."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
        "--disable-background-networking", "--virtual-time-budget=2000", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_command_writes_the_page_into_the_folder(tmp_path):
    folder = with_pictures(tmp_path / "run", ROWS)
    result = CliRunner().invoke(main, ["report", str(folder), "--format", "html"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"written: {folder}/report.html\n")
    assert (folder / "report.html").read_text() == page(folder)


def test_what_is_filled_in_is_escaped():
    assert "<h1" not in render("base.html")
    with pytest.raises(Exception, match="'suite' is undefined"):
        render("run.html")
