//! Tables for people: aligned by what the eye sees, cut to the terminal, plain in pipes.

use crate::term::{self, Paint};

/// Blanks between two columns.
const GAP: usize = 2;
/// No column is cut below this, however narrow the terminal.
const NARROWEST: usize = 8;

/// A deployment, as the fleet is shown at start and by `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// `frontier`, `free` or `local`.
    pub(crate) tier: String,
    /// `provider/model`.
    pub(crate) deployment: String,
    /// Where it runs.
    pub(crate) place: String,
    /// Under whose law.
    pub(crate) law: String,
    /// How it is.
    pub(crate) state: String,
}

/// Prints the fleet. A daemon whose standard output is gone goes on without.
pub(crate) fn print_fleet(rows: &[Row]) {
    let shown = match rows {
        [] => "there is nobody to send calls to yet: set the key of a provider, such as `OPENAI_API_KEY`, or start \
               a local server such as Ollama\n"
            .to_owned(),
        [..] => fleet(rows, Paint::for_stdout(), term::columns()),
    };
    let _ = term::text(shown);
}

/// The fleet as a table.
pub(crate) fn fleet(rows: &[Row], paint: Paint, columns: Option<usize>) -> String {
    let head = ["TIER", "DEPLOYMENT", "WHERE", "LAW", "STATE"];
    let cells = rows.iter().map(|row| {
        [&row.tier, &row.deployment, &row.place, &row.law, &row.state].map(|text| term::tame(text).replace('\n', " "))
    });
    let dress = |column: usize, cell: &str, padded: String| match (column, cell) {
        (4, state) if state.starts_with("passing") || state.starts_with("ready") || state.starts_with("loaded") => {
            paint.good(&padded)
        }
        (4, state) if state.starts_with("tripped") || state.starts_with("restarting") => paint.bad(&padded),
        (4, _) => paint.warn(&padded),
        (2 | 3, "unknown") => paint.dim(&padded),
        (_, _) => padded,
    };
    table(&head, &cells.collect::<Vec<_>>(), columns, &dress, paint)
}

/// A plain table.
pub(crate) fn plain<const N: usize>(
    head: &[&str; N],
    rows: &[[String; N]],
    paint: Paint,
    columns: Option<usize>,
) -> String {
    table(head, rows, columns, &|_, _, padded| padded, paint)
}

/// A table whose cells `dress` paints, given the column, the text, and the text filled up to the column's width.
fn table<const N: usize>(
    head: &[&str; N],
    rows: &[[String; N]],
    columns: Option<usize>,
    dress: &dyn Fn(usize, &str, String) -> String,
    paint: Paint,
) -> String {
    let mut widths = head.map(term::width);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(term::width(cell));
        }
    }
    if let Some(columns) = columns {
        shrink(&mut widths, columns);
    }
    let mut text = String::new();
    let mut line = |cells: [&str; N], is_head: bool| {
        let mut parts = Vec::new();
        for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let cut = term::cut(cell, width);
            let is_last = column + 1 == N;
            let fill = if is_last { 0 } else { width.saturating_sub(term::width(&cut)) };
            let padded = format!("{cut}{}", " ".repeat(fill));
            parts.push(if is_head { paint.dim(&padded) } else { dress(column, cell, padded) });
        }
        let joined = parts.join(&" ".repeat(GAP));
        text.push_str(if paint.is_on() { &joined } else { joined.trim_end() });
        text.push('\n');
    };
    line(*head, true);
    for row in rows {
        line(row.each_ref().map(String::as_str), false);
    }
    text
}

/// Takes columns from the widest cells until a line fits.
fn shrink(widths: &mut [usize], columns: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > columns {
        let Some(widest) = widths.iter_mut().max_by_key(|width| **width).filter(|width| **width > NARROWEST) else {
            return;
        };
        *widest -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(tier: &str, deployment: &str, state: &str) -> Row {
        Row {
            tier: tier.into(),
            deployment: deployment.into(),
            place: "unknown".into(),
            law: "DE".into(),
            state: state.into(),
        }
    }

    #[test]
    fn columns_are_aligned_by_what_the_eye_sees() {
        let rows = [row("frontier", "a/日本", "passing"), row("local", "engine/pilot", "ready")];
        assert_eq!(
            fleet(&rows, Paint::PLAIN, None),
            "TIER      DEPLOYMENT    WHERE    LAW  STATE\n\
             frontier  a/日本        unknown  DE   passing\n\
             local     engine/pilot  unknown  DE   ready\n"
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_the_longest_cells() {
        let rows = [row("frontier", &"x".repeat(60), "passing")];
        let table = fleet(&rows, Paint::PLAIN, Some(50));
        assert!(table.lines().all(|line| term::width(line) <= 50), "{table}");
        assert!(table.contains('…'), "{table}");
        assert!(table.contains("frontier"), "{table}");
    }

    #[test]
    fn a_strangers_name_cannot_break_the_table() {
        let rows = [row("local", "a\x1b[31m/\nb", "passing")];
        let table = fleet(&rows, Paint::PLAIN, None);
        assert_eq!(table.lines().count(), 2, "{table}");
        assert!(!table.contains('\x1b'));
    }
}
