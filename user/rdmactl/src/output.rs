//! Output, as text or as JSON.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Table, presets};
use indicatif::BinaryBytes;
use serde::Serialize;

use crate::{failure::Failure, startup};

/// Destination and format of results.
pub struct Output {
    json: bool,
    /// Results go to standard error, because standard output has the requested data.
    aside: bool,
}

/// An error as JSON.
#[derive(Serialize)]
struct Reported<'a> {
    error: &'a str,
    exit_code: u8,
}

impl Output {
    /// `json`: as JSON instead of text. `next_to_data`: results go to standard error, because standard output has data.
    pub fn new(json: bool, next_to_data: bool) -> Self {
        Self { json, aside: next_to_data }
    }

    /// Whether it is JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Prints a result.
    pub fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let line = match self.json {
            true => serde_json::to_string(value).map_err(|error| Failure::system("JSON")(error.into()))?,
            false => text(),
        };
        if self.aside {
            return write_line(&mut io::stderr().lock(), &line).map_err(Failure::system("standard error"));
        }
        startup::needs_stdout()?;
        write_line(&mut io::stdout().lock(), &line).map_err(Failure::system("standard output"))
    }

    /// Prints an error: as JSON where results go, or as text on standard error.
    pub fn error(&self, text: &str, exit_code: u8) {
        if !self.json || self.result(&Reported { error: text, exit_code }, String::new).is_err() {
            warn(text);
        }
    }

    /// Whether standard error is a terminal and progress is wanted.
    pub fn shows_progress(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }
}

/// Prints what the user should know of the results, on standard error.
pub fn warn(text: &str) {
    // If standard error fails, nothing can be reported.
    let _ = write_line(&mut io::stderr().lock(), &format!("rdmactl: {text}"));
}

fn write_line(to: &mut impl Write, line: &str) -> io::Result<()> {
    writeln!(to, "{line}")?;
    to.flush()
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

/// A number of bytes, for people: 4 KiB, 8.79 KiB.
pub fn size(bytes: u64) -> String {
    if bytes == 1 {
        return "1 byte".into();
    }
    BinaryBytes(bytes).to_string().replace(".00 ", " ").replace(" B", " bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (4096, "4 KiB"),
            (9000, "8.79 KiB"),
            (1 << 30, "1 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
