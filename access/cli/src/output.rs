//! What is printed: tables and fields for people, one JSON document for programs, notes on the side.
//!
//! Standard output carries the answer alone; everything else goes to the error output, so that pipes stay clean.

use crate::exit::{Exit, Failure, Result};
use chainpool_api::Timestamp;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::{
    fmt::Display,
    io::{self, Write},
};

/// Shown where there is nothing.
pub(crate) const NONE: &str = "-";

/// Writes bytes of the answer. A reader that has gone away (`| head`) is no failure, but there is no more to do.
pub(crate) fn bytes(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(Exit::Done, ""),
        _ => Failure::new(Exit::Wrong, format!("cannot write the answer: {error}")),
    })
}

/// Writes a line of the answer.
pub(crate) fn line(text: impl Display) -> Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes the answer as one JSON document.
pub(crate) fn json(document: &serde_json::Value) -> Result<()> {
    line(format_args!("{document:#}"))
}

/// Says something beside the answer. Nothing is lost when nobody can hear it.
pub(crate) fn note(text: impl Display) {
    let _unheard = writeln!(io::stderr().lock(), "{text}");
}

/// Says a part of a line, such as a sign that steers the terminal.
pub(crate) fn note_part(text: &str) {
    let mut errors = io::stderr().lock();
    let _unheard = errors.write_all(text.as_bytes()).and_then(|()| errors.flush());
}

/// A table in plain style: one line an item, columns wide enough, never wrapped. Numbers stand right.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(head);
    let numbers: Vec<bool> = (0..head.len())
        .map(|column| {
            let mut cells = rows.iter().map(|row| row[column].as_str()).filter(|cell| *cell != NONE).peekable();
            cells.peek().is_some() && cells.all(|cell| cell.bytes().all(|byte| byte.is_ascii_digit()))
        })
        .collect();
    for row in rows {
        table.add_row(row.into_iter().map(|cell| clean(&cell)));
    }
    for (column, number) in table.column_iter_mut().zip(numbers) {
        column.set_padding((0, 2));
        if number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Names and values below each other.
pub(crate) fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:width$}{}", clean(value)).trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Takes out what could steer a terminal: texts come from hosts and nodes.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A value, or the sign that there is none.
pub(crate) fn maybe<T: Display>(value: Option<&T>) -> String {
    value.map_or_else(|| NONE.to_owned(), ToString::to_string)
}

/// When something was or will be, from now.
pub(crate) fn when(moment: Timestamp) -> String {
    crate::span::relative(moment, Timestamp::now())
}

/// When something was or will be, where it is known.
pub(crate) fn maybe_when(moment: Option<Timestamp>) -> String {
    moment.map_or_else(|| NONE.to_owned(), when)
}

/// `yes` or `no`.
pub(crate) fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// Bytes in the largest binary unit that leaves a number above 9.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 10 * 1024 && unit + 1 < UNITS.len() {
        value /= 1024;
        unit += 1;
    }
    format!("{value} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_never_wraps_and_leaves_no_blank_at_the_end() {
        let id = "0198a3f0-1111-7222-8333-444455556666";
        let text = table(
            &["ID", "SIZE", "REASON"],
            vec![
                vec![id.into(), "4".into(), "a very long reason ".repeat(20)],
                vec![id.into(), "16".into(), "two\nlines \u{1b}[31m".into()],
            ],
        );
        insta::assert_snapshot!(text);
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().all(|line| !line.ends_with(' ') && !line.contains('\u{1b}')));
    }

    #[test]
    fn fields_stand_below_each_other() {
        assert_eq!(fields(&[("name", "h1".into()), ("capacity", "3".into())]), "name      h1\ncapacity  3");
    }

    #[test]
    fn sizes_are_read_by_people() {
        for (bytes, text) in [(0, "0 B"), (10_239, "10239 B"), (10_240, "10 KiB"), (25_000_000_000, "23 GiB")] {
            assert_eq!(size(bytes), text);
        }
    }
}
