//! Output, as text or as JSON.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::failure::Failure;

/// Destination and format of results.
pub struct Output {
    json: bool,
}

impl Output {
    /// To standard output, as JSON or as text.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether it is JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Prints a result on standard output.
    pub fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        self.line(&mut io::stdout().lock(), value, text)
    }

    /// Prints what was done on standard error, because standard output has the requested data.
    pub fn remark(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        self.line(&mut io::stderr().lock(), value, text)
    }

    /// Prints an error.
    pub fn error(&self, text: &str, value: &impl Serialize) {
        // If standard error fails, nothing can be reported.
        let _ = self.line(&mut io::stderr().lock(), value, || format!("rdmactl: {text}"));
    }

    /// Whether standard error is a terminal and progress is wanted.
    pub fn shows_progress(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    fn line(&self, to: &mut impl Write, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let line = if self.json { serde_json::to_string(value).map_err(io::Error::from) } else { Ok(text()) };
        line.and_then(|line| writeln!(to, "{line}").and_then(|()| to.flush())).map_err(Failure::system("output"))
    }
}

/// A plain table: words in columns.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
