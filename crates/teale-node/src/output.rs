//! stdout: data only, as text or as JSON.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// Where a verb's data goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Whether a person watches.
    pub(crate) fn is_terminal(self) -> bool {
        !self.json && io::stdout().is_terminal()
    }

    /// One document: `value` with `--json`, else `text`.
    pub(crate) fn document(self, value: &impl Serialize, text: impl FnOnce() -> String) -> io::Result<()> {
        let line = if self.json { serde_json::to_string(value)? } else { text() };
        self.line(&line)
    }

    /// A line of text.
    pub(crate) fn line(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        quiet(writeln!(out, "{text}").and_then(|()| out.flush()))
    }

    /// A piece of text, shown at once.
    pub(crate) fn piece(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let shown = if out.is_terminal() { plain_lines(text) } else { text.to_owned() };
        quiet(out.write_all(shown.as_bytes()).and_then(|()| out.flush()))
    }
}

/// A reader that went away (`| head`) has had enough: that is no failure.
fn quiet(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// A stranger's text without what a terminal would obey: control characters become spaces.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The same for text of several lines.
fn plain_lines(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// A number of bytes for people, in powers of ten.
pub(crate) fn bytes(count: u64) -> String {
    let scaled = |power: u32| count as f64 / 10f64.powi(power as i32);
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", scaled(3)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", scaled(6)),
        _ => format!("{:.2} GB", scaled(9)),
    }
}

/// Columns of text, each as wide as its widest cell; the last one is not padded.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|title| title.len())).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<_> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let head = std::iter::once(line(head.to_vec()));
    head.chain(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_drive_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{9b}d"), "a [2Jb c d");
        assert_eq!(plain_lines("a\u{1b}[2J\nb\tc\u{7}"), "a[2J\nb\tc");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["ab".into(), "x".into()], vec!["ü".into(), "yz".into()]];
        assert_eq!(table(&["N", "VAL"], &rows), "N   VAL\nab  x\nü   yz");
    }
}
