//! The only place that prints.

use std::io::Write;

/// A line on standard output: results.
pub(crate) fn result(line: &str) {
    // A pipe that is gone has no reader who could miss it.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line on standard error: what is being done, what went wrong.
pub(crate) fn progress(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
