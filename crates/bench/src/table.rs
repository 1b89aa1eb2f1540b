//! The table that people read.

use crate::cell::{Cell, Shape};
use crate::process::Memory;
use crate::report::{COMMONWATT, CellReport, DIRECT, Figures, MemoryReport, PathReport, Report};
use crate::statistics::Spread;

/// The tail of what is added should be no longer than this many times its middle.
const TAIL_TARGET: f64 = 3.0;
/// What the daemon should have resident without a local model, in MiB.
const MEMORY_TARGET_MIB: f64 = 40.0;
/// Stands where there is no figure.
const NONE: &str = "–";
/// Stands behind a figure that misses its target.
const MISSED: &str = " ✗";

/// The whole table, its legend, and what missed its target.
pub(crate) fn render(report: &Report) -> String {
    let mut lines = vec![head(report), String::new()];
    lines.extend(columns(&cells(&report.cells)));
    if !report.memory.is_empty() {
        lines.push(String::new());
        lines.extend(columns(&memory(&report.memory)));
    }
    lines.push(String::new());
    lines.push(format!(
        "At {} callers: requests a second, the gateway's CPU time for one, and that as a multiple of the bare proxy's.",
        report.crowd
    ));
    lines.push(format!(
        "At a fixed rate: microseconds that a path adds to `{DIRECT}` (whose own are in brackets), to the whole answer and \
         to its first token.",
    ));
    if report.machine.was_busy() {
        lines.push(
            "The machine was busy before the run: repeat it on a quiet one before you believe a figure.".to_owned(),
        );
    }
    lines.push(verdict(report));
    lines.join("\n")
}

fn head(report: &Report) -> String {
    let machine = &report.machine;
    format!(
        "Commonwatt {} · {} · {} · {} cores, {} · Linux {} · load before {}",
        machine.revision,
        report.began,
        machine.cpu,
        machine.cores,
        if report.pinned { "the gateway pinned to one" } else { "shared by all" },
        machine.kernel,
        machine.load_before,
    )
}

type Row = Vec<String>;

fn cells(cells: &[CellReport]) -> Vec<Row> {
    let titles = [
        "cell",
        "path",
        "req/s",
        "CPU µs",
        "× floor",
        "target",
        "added p50",
        "p99",
        "p99:p50",
        "target",
        "first p50",
        "p99",
    ];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for cell in cells {
        for (at, path) in cell.paths.iter().enumerate() {
            let name = if at == 0 { cell.cell.to_string() } else { String::new() };
            rows.push(row(name, cell.cell, path));
        }
    }
    rows
}

fn row(name: String, cell: Cell, path: &PathReport) -> Row {
    if path.failure.is_some() {
        return vec![name, path.path.clone(), "failed".to_owned()];
    }
    let figures = &path.figures;
    let is_ours = path.path == COMMONWATT;
    let is_direct = path.path == DIRECT;
    let (total, first) = if is_direct { (figures.total, figures.first) } else { (figures.added, figures.added_first) };
    // What comes in one piece has no first token of its own.
    let first = first.filter(|_| cell.shape == Shape::Stream);
    let time = |spread: Option<Spread>, of: fn(Spread) -> f64| match spread.map(of).map(short) {
        Some(time) if is_direct => format!("[{time}]"),
        Some(time) => time,
        None => NONE.to_owned(),
    };
    let ratio_target = cell.ratio_target().filter(|_| is_ours);
    let target = |target: Option<f64>| target.map_or_else(String::new, |target| format!("≤ {target}"));
    vec![
        name,
        path.path.clone(),
        figures.requests_per_s.map_or_else(|| NONE.to_owned(), |rate| format!("{rate:.0}")),
        figures.cpu_us.map_or_else(|| NONE.to_owned(), short),
        against(figures.cpu_ratio, ratio_target),
        target(ratio_target),
        time(total, |spread| spread.p50_us),
        time(total, |spread| spread.p99_us),
        against(tail(figures), is_ours.then_some(TAIL_TARGET)),
        target(is_ours.then_some(TAIL_TARGET)),
        time(first, |spread| spread.p50_us),
        time(first, |spread| spread.p99_us),
    ]
}

/// How much longer the tail of what is added is than its middle.
fn tail(figures: &Figures) -> Option<f64> {
    figures.added.filter(|added| added.p50_us > 0.0).map(|added| added.p99_us / added.p50_us)
}

fn against(figure: Option<f64>, target: Option<f64>) -> String {
    let Some(figure) = figure else { return NONE.to_owned() };
    let missed = target.is_some_and(|target| figure > target);
    format!("{figure:.2}{}", if missed { MISSED } else { "" })
}

/// Three digits are enough.
fn short(figure: f64) -> String {
    if figure.abs() < 99.95 { format!("{figure:.1}") } else { format!("{figure:.0}") }
}

fn memory(reports: &[MemoryReport]) -> Vec<Row> {
    let titles = ["memory, MiB", "at rest", "under load", "5 s after", "target", "after all", "peak"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for report in reports {
        let is_ours = report.path == COMMONWATT;
        let target = is_ours.then_some(MEMORY_TARGET_MIB);
        let told = |memory: Option<Memory>| match memory {
            Some(memory) => {
                let mib = mib(memory.rss_kib);
                format!("{mib:.1}{}", if target.is_some_and(|target| mib > target) { MISSED } else { "" })
            }
            None => NONE.to_owned(),
        };
        let untold = |kib: Option<u64>| kib.map_or_else(|| NONE.to_owned(), |kib| format!("{:.1}", mib(kib)));
        let slope = if report.is_flat { "" } else { " (not flat)" };
        rows.push(vec![
            report.path.clone(),
            told(report.at_rest),
            format!("{}{slope}", told(report.plateau)),
            told(report.rested),
            target.map_or_else(String::new, |target| format!("≤ {target}")),
            untold(report.after_all.map(|memory| memory.rss_kib)),
            untold(report.after_all.map(|memory| memory.peak_kib)),
        ]);
    }
    rows
}

#[expect(clippy::cast_precision_loss, reason = "KiB of one process")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// What missed its target, and that this is no failure.
fn verdict(report: &Report) -> String {
    let mut missed = Vec::new();
    for cell in &report.cells {
        for path in cell.paths.iter().filter(|path| path.path == COMMONWATT) {
            let over = |figure: Option<f64>, target: Option<f64>| Some((figure?, target?)).filter(|(f, t)| f > t);
            if let Some((figure, target)) = over(path.figures.cpu_ratio, cell.cell.ratio_target()) {
                missed.push(format!("{} CPU {figure:.2} (≤ {target})", cell.cell));
            }
            if let Some((figure, target)) = over(tail(&path.figures), Some(TAIL_TARGET)) {
                missed.push(format!("{} p99:p50 {figure:.2} (≤ {target})", cell.cell));
            }
        }
    }
    for line in report.memory.iter().filter(|line| line.path == COMMONWATT) {
        let most =
            [line.at_rest, line.plateau, line.rested].into_iter().flatten().map(|m| mib(m.rss_kib)).fold(0.0, f64::max);
        if most > MEMORY_TARGET_MIB {
            missed.push(format!("memory {most:.1} MiB (≤ {MEMORY_TARGET_MIB})"));
        }
    }
    if !report.cells.iter().any(|cell| cell.paths.iter().any(|path| path.path == COMMONWATT)) {
        return "Commonwatt was not measured.".to_owned();
    }
    if missed.is_empty() { "Every target is met.".to_owned() } else { format!("Missed: {}.", missed.join("; ")) }
}

/// Lays cells out in columns: the first two to the left, the others to the right.
fn columns(rows: &[Row]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell: &String| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Row| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            // The width of a format counts characters, as is done here.
            if column < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amounts::{Amounts, CROWD, Thoroughness};
    use crate::machine::Machine;

    fn figures(cpu_us: f64, cpu_ratio: f64, p50_us: f64, p99_us: f64) -> Figures {
        let spread = Some(Spread { p50_us, p99_us });
        Figures {
            total: spread,
            first: spread,
            added: spread,
            added_first: spread,
            requests_per_s: Some(8000.4),
            cpu_us: Some(cpu_us),
            cpu_ratio: Some(cpu_ratio),
            paced_cpu_us: None,
        }
    }

    fn report(ratio: f64, p99_us: f64, failure: Option<String>) -> Report {
        let path = |name: &str, figures| PathReport { path: name.to_owned(), figures, ..PathReport::default() };
        let cell = Cell::all().next().unwrap();
        let ours = PathReport { failure, ..path(COMMONWATT, figures(50.0, ratio, 100.0, p99_us)) };
        let paths = vec![path(DIRECT, Figures { cpu_ratio: None, ..figures(0.0, 0.0, 80.0, 120.0) }), ours];
        let machine = Machine {
            cpu: "CPU".into(),
            cores: 2,
            kernel: "6.1".into(),
            load_before: "0.1 0.2 0.3".into(),
            revision: "abc".into(),
        };
        Report {
            began: "now".into(),
            machine,
            thoroughness: "quick",
            pinned: false,
            gap_ms: 0,
            crowd: CROWD,
            memory: vec![MemoryReport {
                path: COMMONWATT.into(),
                at_rest: Some(Memory { rss_kib: 20 << 10, pss_kib: 0, peak_kib: 0 }),
                ..MemoryReport::default()
            }],
            cells: vec![CellReport { cell, amounts: Amounts::of(cell, Thoroughness::Quick), paths }],
        }
    }

    #[test]
    fn a_figure_stands_beside_its_target() {
        let table = render(&report(1.254, 250.0, None));
        let ours = table.lines().find(|line| line.trim_start().starts_with(COMMONWATT)).unwrap();
        let words: Vec<_> = ours.split_whitespace().collect();
        assert_eq!(words, ["commonwatt", "8000", "50.0", "1.25", "≤", "1.3", "100", "250", "2.50", "≤", "3", "–", "–"]);
        assert!(table.ends_with("Every target is met."), "{table}");
    }

    #[test]
    fn a_missed_target_is_marked_and_named() {
        let table = render(&report(1.5, 350.0, None));
        assert!(table.contains("1.50 ✗") && table.contains("3.50 ✗"), "{table}");
        assert!(
            table.ends_with("Missed: plain-1k-same CPU 1.50 (≤ 1.3); plain-1k-same p99:p50 3.50 (≤ 3)."),
            "{table}"
        );
    }

    #[test]
    fn a_busy_machine_is_said_to_be_one() {
        let mut report = report(1.0, 100.0, None);
        assert!(!render(&report).contains("busy"));
        report.machine.load_before = "2.81 1.00 1.00".into();
        assert!(render(&report).contains("busy"));
    }

    #[test]
    fn a_path_that_failed_has_no_figures() {
        let report = report(1.0, 100.0, Some("status 503".into()));
        let table = render(&report);
        assert!(table.lines().any(|line| line.trim().ends_with("failed")), "{table}");
        assert_eq!(report.failures(), ["plain-1k-same commonwatt: status 503"]);
    }

    #[test]
    fn columns_line_up_whatever_is_written_in_them() {
        let rows = [
            vec!["a".to_owned(), "µ".to_owned(), "1".to_owned()],
            vec!["–".to_owned(), "bb".to_owned(), "≤ 22".to_owned()],
        ];
        assert_eq!(columns(&rows), ["a  µ      1", "–  bb  ≤ 22"]);
    }
}
