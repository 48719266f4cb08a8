// Debian's mdBook is without book.js. Of what that does, this is needed: highlighting. The sidebar and the search work without it.
for (const code of document.querySelectorAll("pre code")) {
    hljs.highlightBlock(code);
}
document.getElementById("theme-toggle")?.remove();
