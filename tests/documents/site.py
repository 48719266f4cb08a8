#!/usr/bin/python3 -B
"""tests/documents/site.py : the documentation as a site (`make docs`) is built, its links lead somewhere, and a browser shows it.

Runs in the build root, after `vm/setup chromium`; or on a machine that has Chromium: `make docs && tests/documents/site.py build/docs`. Without it, the
cases that need it are skipped.
"""

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
BROWSER_SECONDS = 400  # for all pages, by vm/patience.py
sys.path[:0] = [str(PROJECT / "tests/harness"), str(PROJECT / "docs/site")]
import ktap  # noqa: E402
import links  # noqa: E402



def chromium() -> str | None:
    """The browser: that of vm/chromium, or one that is installed."""
    command = ". vm/lib.sh; unpacked_directory chromium"
    directory = subprocess.run(["/bin/bash", "-c", command], cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return next(filter(None, map(shutil.which, (f"{directory}/chromium", "chromium", "chromium-headless-shell"))), None)


CHROMIUM = chromium()
needs_chromium = unittest.skipUnless(CHROMIUM, "Chromium is not there yet; run 'vm/setup chromium'")

# Loads each page in a frame, one after the other, and answers with what a reader would see of it. Errors of scripts are those of the pages.
VISITOR = """<!doctype html><iframe style="width: %(width)dpx; height: 800px"></iframe><pre id="answer"></pre><script>
const frame = document.querySelector("iframe"), answer = [];
async function visit(page) {
    await new Promise((loaded) => { frame.onload = loaded; frame.src = page; });
    const shown = frame.contentDocument, style = (element) => frame.contentWindow.getComputedStyle(element);
    const main = shown.querySelector("main"), blocks = [...shown.querySelectorAll("pre code")];
    shown.getElementById("search-toggle").click();
    const search = shown.getElementById("searchbar");
    search.value = "eventfd";
    search.dispatchEvent(new frame.contentWindow.Event("input"));
    search.dispatchEvent(new frame.contentWindow.KeyboardEvent("keyup", { key: "d" }));
    await new Promise((found) => setTimeout(found, 600));
    answer.push({
        page,
        chapters: shown.querySelectorAll("#sidebar .chapter-item a").length,
        // How far a reader must scroll for text. Code and tables may be wider: they scroll by themselves.
        sideways: Math.max(...[shown.documentElement, shown.querySelector(".content")].map((element) => element.scrollWidth - element.clientWidth)),
        text: main.innerText.length,
        pictures: [...shown.images].filter((image) => image.naturalWidth == 0).map((image) => image.src),
        named: blocks.filter((code) => /language-(c|rust|python|console)\\b/.test(code.className)).length,
        highlighted: blocks.filter((code) => /language-(c|rust|python|console)\\b/.test(code.className) && code.querySelector("[class^=hljs-]")).length,
        guessed: blocks.filter((code) => !/language-/.test(code.className) && code.querySelector("[class^=hljs-]")).length,
        dark: blocks.filter((code) => /^rgb\\([0-9]{1,2},/.test(style(code).backgroundColor)).length,
        results: shown.querySelectorAll("#searchresults li").length,
    });
}
(async () => {
    for (const page of %(pages)s) await visit(page);
    document.getElementById("answer").textContent = JSON.stringify(answer);
})();
</script>"""


class Site(unittest.TestCase):
    """The site, which is built once, or is there already."""

    site = Path()

    @classmethod
    def setUpClass(cls) -> None:
        if len(sys.argv) > 1:
            cls.site = Path(sys.argv[1]).resolve()
            return
        cls.site = Path(tempfile.mkdtemp()) / "site"
        subprocess.run([PROJECT / "docs/site/build", cls.site], stdout=subprocess.DEVNULL, check=True)

    def test_links(self) -> None:
        self.assertGreater(len(list(self.site.rglob("*.html"))), 100)
        self.assertEqual(links.broken(self.site), [])

    def test_a_broken_link_is_found(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "index.html").write_text('<p id="here"><a href="#here">1</a> <a href="#there">2</a> <img src="picture.svg">')
            self.assertEqual(links.broken(Path(directory)), ["index.html: #there", "index.html: picture.svg"])

    def test_all_documents_are_there(self) -> None:
        summary = (PROJECT / "docs/site/SUMMARY.md").read_text()
        listed = set(re.findall(r"\]\(([^)]+)\)", summary))
        documents = [path.relative_to(PROJECT) for where in ("docs", "packaging", "samples", "samples/*", "tests", "user/*") for path in PROJECT.glob(f"{where}/*.md")]
        self.assertEqual([name for name in map(str, documents) if name not in listed], [])

    def test_reference_is_there(self) -> None:
        for page in ("manual/rdma.4.html", "manual/rdmactl.1.html", "rust/library/rust_dma/struct.Context.html", "rust/driver/rdma/index.html"):
            self.assertTrue((self.site / page).is_file(), page)

    @classmethod
    @cache
    def visited(cls, width: int) -> list[dict]:
        """What a reader sees of each page of the guides in a window of this width."""
        pages = [path for path in sorted(cls.site.rglob("*.html")) if 'class="menu-title"' in path.read_text()]
        with tempfile.TemporaryDirectory() as directory:
            visitor = Path(directory) / "visitor.html"
            visitor.write_text(VISITOR % {"width": width, "pages": json.dumps([path.as_uri() for path in pages])})
            options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--enable-logging=stderr", "--virtual-time-budget=600000"]
            command = [CHROMIUM, *options, "--dump-dom", visitor.as_uri()]
            shown = subprocess.run([PROJECT / "vm/patience.py", str(BROWSER_SECONDS), *command], capture_output=True, text=True, check=True)
        answer = re.search(r'<pre id="answer">(.+)</pre>', shown.stdout)
        uncaught = re.findall(".*Uncaught.*", shown.stderr)
        if not answer or uncaught:
            raise AssertionError("\n".join(uncaught) or shown.stderr)
        seen = json.loads(html.unescape(answer[1]))
        if len(seen) != len(pages) or len(seen) < 40:
            raise AssertionError(f"{len(seen)} of {len(pages)} pages were shown")
        return seen

    @needs_chromium
    def test_a_browser_shows_it(self) -> None:
        for page in self.visited(1300):
            with self.subTest():
                self.assertGreater(page["chapters"], 40, page)  # a script makes the list
                self.assertGreater(page["text"], 50, page)
                self.assertEqual(page["pictures"], [], page)
                self.assertGreater(page["results"], 0, page)
                self.assertLessEqual(page["sideways"], 0, page)

    @needs_chromium
    def test_a_telephone_shows_it(self) -> None:
        for page in self.visited(400):
            with self.subTest():
                self.assertLessEqual(page["sideways"], 0, page)

    @needs_chromium
    def test_code_is_highlighted(self) -> None:
        seen = self.visited(1300)
        self.assertGreater(sum(page["named"] for page in seen), 30)
        for page in seen:
            with self.subTest():
                self.assertEqual((page["highlighted"], page["guessed"], page["dark"]), (page["named"], 0, 0), page)


if __name__ == "__main__":
    sys.exit(ktap.main(Site))
