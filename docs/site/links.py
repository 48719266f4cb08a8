"""Checks the links of a site: each internal one must lead to a file, and to an element with that name."""

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of a page, and the names in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.names: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for each element."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.add(value)
            elif name == "id" or (name == "name" and tag == "a"):
                self.names.add(value or "")


@cache
def parsed(path: Path) -> Page:
    """A page, which is read once."""
    return Page(path)


def is_broken(page: Path, link: str) -> bool:
    """Whether a link in a page is internal and leads to nothing."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return False
    target = page.parent / unquote(parts.path) if parts.path else page
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return True
    # rustdoc's names of lines (12-34) are interpreted by its script.
    is_line = parts.fragment.replace("-", "").isdigit()
    if not parts.fragment or is_line or target.suffix != ".html":
        return False
    # As browsers do: the name as it is, or decoded.
    return parsed(target.resolve()).names.isdisjoint({parts.fragment, unquote(parts.fragment)})


def broken(site: Path) -> list[str]:
    """All broken links, as PAGE: LINK."""
    pages = sorted(site.resolve().rglob("*.html"))
    return [f"{page.relative_to(site.resolve())}: {link}" for page in pages for link in sorted(parsed(page).links) if is_broken(page, link)]
