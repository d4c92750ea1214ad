"""The site of the guide: built without a warning, whole, and loading nothing from elsewhere."""

import functools
import html
import http.server
import json
import re
import shutil
import subprocess
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from pages import ROOT

from advbench.guide.folder import write_pages
from advbench.guide.pages import pages

SPHINX = next((path for path in (ROOT / ".venv-guide/bin/sphinx-build",) if path.is_file()), None)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NARROW = 360
"""Width in pixels of a small telephone."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SPHINX is None, reason="needs .venv-guide, which `make guide` makes"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("guide")
    write_pages(folder / "pages")
    command = [
        SPHINX,
        "--quiet",
        "--fail-on-warning",
        "--keep-going",
        "-c",
        ROOT / "docs",
        folder / "pages",
        folder / "site",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "site"


class Links(HTMLParser):
    """What a page has, links to, and loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.ids, self.clicked, self.loaded = set(), [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.add(given.get("id"))
        if tag == "a":
            self.clicked.append(given.get("href") or "")
        elif tag == "link" and given.get("rel") not in ("index", "search", "next", "prev", "canonical"):
            self.loaded.append(given.get("href") or "")
        self.loaded += [given[name] for name in ("src", "srcset", "poster", "data", "action") if given.get(name)]


def read(path) -> Links:
    found = Links()
    found.feed(path.read_text(encoding="utf-8"))
    return found


def test_every_page_is_there_with_a_search_and_both_colours(site):
    for name in pages():
        assert (site / f"{name}.html").is_file()
    assert (site / "searchindex.js").is_file()
    index = (site / "index.html").read_text()
    for name, page in pages().items():
        assert f'href="{name}.html"' in index
        assert html.escape(page.title) in index
    assert "prefers-color-scheme:dark" in "".join(path.read_text() for path in site.rglob("*.css")).replace(" ", "")


def test_no_link_is_broken(site):
    found = {path: read(path) for path in site.rglob("*.html")}
    broken = []
    for path, page in found.items():
        for link in (*page.clicked, *page.loaded):
            address, anchor = urldefrag(link)
            if urlsplit(address).scheme or link.startswith("//"):
                continue
            target = (path.parent / unquote(address.partition("?")[0])).resolve() if address else path
            known = found.get(target)
            if not target.is_file() or (anchor and known and unquote(anchor) not in known.ids):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(site):
    elsewhere = re.compile(r"^(?:[a-z]+:)?//")
    for path in site.rglob("*.html"):
        assert [link for link in read(path).loaded if elsewhere.match(link)] == [], path
    for path in site.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)]*", path.read_text()) == [], path


def test_the_interface_is_on_it(site):
    text = (site / "reference/python-attacks.html").read_text()
    assert "Steps down the loss, each brought back into the ball" in text
    assert 'id="pgd"' in text


CHECK = """<title>waiting</title><script>
const pages = %s, found = [], own = location.origin;
async function look(address) {
  const frame = document.createElement("iframe");
  frame.style.cssText = "width: %dpx; height: 800px; border: 0";
  frame.src = address;
  document.body.append(frame);
  await new Promise(done => frame.onload = done);
  const inside = frame.contentWindow, root = frame.contentDocument.documentElement;
  const loaded = inside.performance.getEntriesByType("resource").map(each => each.name);
  const others = loaded.filter(each => !each.startsWith(own));
  found.push({address, wide: root.scrollWidth, others, text: frame.contentDocument.body.innerText.length});
  frame.remove();
}
window.onload = async () => {
  for (const address of pages) await look(address);
  document.body.innerText = JSON.stringify(found);
  document.title = "done";
};
</script><body></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_shows_every_page_on_a_narrow_screen_and_asks_nobody_else(site, tmp_path):
    addresses = [f"/{name}.html" for name in ("index", *pages())]
    (site / "check.html").write_text(CHECK % (json.dumps(addresses), NARROW))
    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile",
            "--disable-background-networking", "--virtual-time-budget=60000", "--dump-dom",
            f"http://127.0.0.1:{server.server_port}/check.html",
        ]  # fmt: skip
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        server.shutdown()
    assert "<title>done</title>" in shown
    found = json.loads(html.unescape(re.findall(r"<body>(.*)</body>", shown, re.DOTALL)[0]))
    assert [each["address"] for each in found] == addresses
    assert [each for each in found if each["wide"] > NARROW] == []
    assert [each for each in found if each["others"]] == []
    assert min(each["text"] for each in found) > 100


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass
