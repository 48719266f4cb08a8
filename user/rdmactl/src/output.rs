//! What is told, to people or as JSON.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::failure::Failure;

/// Where results go, and in which form.
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

    /// Tells a result, on standard output.
    pub fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        self.line(&mut io::stdout().lock(), value, text)
    }

    /// Tells what was done, on standard error: what was asked for is on standard output already.
    pub fn remark(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        self.line(&mut io::stderr().lock(), value, text)
    }

    /// Tells what went wrong.
    pub fn error(&self, text: &str, value: &impl Serialize) {
        // There is nowhere left to complain about this one.
        let _ = self.line(&mut io::stderr().lock(), value, || format!("rdmactl: {text}"));
    }

    /// Whether people look at standard error and want to see how far it is.
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
