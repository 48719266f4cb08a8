// Debian's mdBook is without book.js. Of what that does, this is needed: highlighting, in the colours of the theme. The sidebar and the search work
// without it.
const theme_of_code = { ayu: "ayu-highlight-css", coal: "tomorrow-night-css", navy: "tomorrow-night-css" }[theme] || "highlight-css";
for (const sheet of ["highlight-css", "tomorrow-night-css", "ayu-highlight-css"]) {
    document.getElementById(sheet).disabled = sheet !== theme_of_code;
}
for (const code of document.querySelectorAll("pre code")) {
    // The language of a block that names none would be guessed.
    if (/\blanguage-/.test(code.className)) {
        hljs.highlightBlock(code);
    } else {
        code.classList.add("hljs");
    }
}
document.getElementById("theme-toggle")?.remove();
