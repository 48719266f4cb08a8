//! The progress of a copy.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error, or nothing.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Shows the progress of a copy of this number of bytes, if it is known.
    pub fn new(shown: bool, length: Option<u64>) -> Self {
        if !shown {
            return Self { bar: ProgressBar::hidden() };
        }
        let template = match length {
            Some(_) => "{bytes} of {total_bytes} {wide_bar} {binary_bytes_per_sec}, {eta} left",
            None => "{spinner} {bytes}, {binary_bytes_per_sec}, {elapsed}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr()).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(500));
        Self { bar }
    }

    /// The file may have grown.
    pub fn reaches(&self, length: Option<u64>) {
        if let Some(length) = length {
            self.bar.set_length(length);
        }
    }

    /// This many bytes are done.
    pub fn set(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    /// The end; the summary is printed elsewhere.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
