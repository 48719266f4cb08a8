#!/usr/bin/python3 -B
"""tests/documents/site.py : the documentation as a site (`make docs`) is built, its links lead somewhere, and a browser shows it.

Runs in the build root. The browser is Chromium, which is too large for the build root: without it, that case is skipped. On a machine that has it:
`make docs && tests/documents/site.py build/docs`.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(PROJECT / "tests/harness"), str(PROJECT / "docs/site")]
import ktap  # noqa: E402
import links  # noqa: E402

CHROMIUM = next((path for name in ("chromium", "chromium-headless-shell") if (path := shutil.which(name))), None)


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

    @unittest.skipUnless(CHROMIUM, "there is no Chromium here")
    def test_a_browser_shows_it(self) -> None:
        for page, words in (("index.html", "Where to read on"), ("docs/interface.html", "RDMA_IOC_FREE"), ("manual/rdma.4.html", "RDMA_IOC_SUBMIT")):
            command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom", (self.site / page).as_uri()]
            shown = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
            self.assertIn(words, shown.stdout)
            self.assertIn('class="chapter-item', shown.stdout)  # the list of chapters, which a script makes
            self.assertNotIn("Uncaught", shown.stderr)


if __name__ == "__main__":
    sys.exit(ktap.main(Site))
