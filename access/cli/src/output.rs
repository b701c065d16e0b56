//! Output: tables and fields for people, one JSON document for programs, notes on standard error.
//!
//! Standard output carries only the result; everything else goes to standard error, which keeps pipes clean.

use crate::exit::{Exit, Failure, Result};
use chainpool_api::Timestamp;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::{
    fmt::{Display, Write as _},
    io::{self, IsTerminal, Write},
};

/// A log line above this many bytes is printed before its end arrives.
const LONG_LINE: usize = 64 * 1024;

/// Placeholder for an absent value.
pub(crate) const NONE: &str = "-";

/// Writes bytes of the result. A closed pipe (`| head`) ends the command successfully.
pub(crate) fn bytes(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Success, ""),
            _ => Failure::new(Exit::Error, format!("cannot write the output: {error}")),
        })
}

/// Writes a line of the result, for people.
pub(crate) fn line(text: impl Display) -> Result<()> {
    bytes(format!("{}\n", visible(&text.to_string(), |c| c == '\n')).as_bytes())
}

/// Writes the result as one JSON document.
pub(crate) fn json(document: &serde_json::Value) -> Result<()> {
    bytes(format!("{}\n", json_text(document)).as_bytes())
}

/// The document, with JSON escapes for terminal control characters; serde already escapes those below the
/// space.
fn json_text(document: &serde_json::Value) -> String {
    let mut out = String::new();
    for c in format!("{document:#}").chars() {
        if is_control(c) && c != '\n' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _infallible = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Prints a message to standard error and ignores write errors. It may contain server texts and file names,
/// so terminal control characters are escaped.
pub(crate) fn note(text: impl Display) {
    let _ignored = writeln!(
        io::stderr().lock(),
        "{}",
        visible(&text.to_string(), |c| c == '\n')
    );
}

/// Writes bytes of a node's log: unchanged to a file or pipe, with control characters escaped to a terminal.
pub(crate) fn log(log: &mut LogText, piece: &[u8]) -> Result<()> {
    if io::stdout().is_terminal() {
        bytes(log.take(piece).as_bytes())
    } else {
        bytes(piece)
    }
}

/// Converts a log stream to text for a terminal: removes colours and escapes other control characters.
#[derive(Debug, Default)]
pub(crate) struct LogText {
    /// The incomplete last line.
    rest: Vec<u8>,
}

impl LogText {
    /// Adds a piece and returns the complete lines.
    fn take(&mut self, piece: &[u8]) -> String {
        self.rest.extend_from_slice(piece);
        // Complete lines only, except for very long ones.
        let complete = match self.rest.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if self.rest.len() > LONG_LINE => self.rest.len(),
            None => 0,
        };
        let lines: Vec<u8> = self.rest.drain(..complete).collect();
        visible(&without_colours(&String::from_utf8_lossy(&lines)), |c| {
            c == '\n' || c == '\t'
        })
    }

    /// Prints the rest at the end.
    pub(crate) fn end(&mut self) -> Result<()> {
        let rest = std::mem::take(&mut self.rest);
        bytes(visible(&without_colours(&String::from_utf8_lossy(&rest)), |c| c == '\t').as_bytes())
    }
}

/// Removes colour sequences: `ESC [ … m`.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|c: char| !c.is_ascii_digit() && c != ';')
            .unwrap_or(part.len());
        match part[end..].strip_prefix('m') {
            Some(rest) => out.push_str(rest),
            None => out.extend(["\u{1b}[", part]),
        }
    }
    out
}

/// Escapes control characters, line separators and bidirectional controls, except those that `keep` accepts.
pub(crate) fn visible(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_control(c) && !keep(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Prints a part of a line to standard error, such as a terminal control sequence.
pub(crate) fn note_part(text: &str) {
    let mut errors = io::stderr().lock();
    let _ignored = errors.write_all(text.as_bytes()).and_then(|()| errors.flush());
}

/// `true` for control characters, line separators and bidirectional controls.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A plain table: one line per item, never wrapped, numbers aligned right.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(head);
    let numbers: Vec<bool> = (0..head.len())
        .map(|column| {
            let mut cells = rows
                .iter()
                .map(|row| row[column].as_str())
                .filter(|cell| *cell != NONE)
                .peekable();
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
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Names and values, one pair per line.
pub(crate) fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    let lines: Vec<String> = rows
        .iter()
        .map(|(name, value)| format!("{name:width$}{}", clean(value)).trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// Replaces control characters by spaces: texts come from hosts and nodes.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// A value, or the placeholder.
pub(crate) fn maybe<T: Display>(value: Option<&T>) -> String {
    value.map_or_else(|| NONE.to_owned(), ToString::to_string)
}

/// A time, relative to now.
pub(crate) fn when(moment: Timestamp) -> String {
    crate::duration::relative(moment, Timestamp::now())
}

/// A time relative to now, or the placeholder.
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
    fn tables_never_wrap_and_have_no_trailing_spaces() {
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
        assert!(
            text.lines()
                .all(|line| !line.ends_with(' ') && !line.contains('\u{1b}'))
        );
    }

    #[test]
    fn control_characters_never_reach_a_terminal() {
        let hostile = "no\u{1b}]0;title\u{7} host\r\n\u{9b}31m\u{202e}x";
        assert_eq!(
            visible(hostile, |c| c == '\n'),
            "no\\u{1b}]0;title\\u{7} host\\r\n\\u{9b}31m\\u{202e}x"
        );
        assert_eq!(visible("plain ü 名", |_| false), "plain ü 名");
        let document = serde_json::json!({ "name": hostile });
        let text = json_text(&document);
        assert!(!text.chars().any(|c| is_control(c) && c != '\n'), "{text:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            document
        );
    }

    #[test]
    fn a_chunked_log_reaches_a_terminal_without_colours_and_control_characters() {
        let log =
            "\u{1b}[90m12:04\u{1b}[0m \u{1b}[1;32mINF\u{1b}[m ü\tdone\n\u{1b}]0;x\u{7}\u{1b}[2J\nend\u{1b}[";
        let expected = "12:04 INF ü\tdone\n\\u{1b}]0;x\\u{7}\\u{1b}[2J\n";
        for size in [1, 2, 3, 7, 1000] {
            let mut text = LogText::default();
            let shown: String = log
                .as_bytes()
                .chunks(size)
                .map(|piece| text.take(piece))
                .collect();
            assert_eq!(
                (shown.as_str(), text.rest.as_slice()),
                (expected, &b"end\x1b["[..]),
                "{size}"
            );
        }
    }

    #[test]
    fn fields_are_aligned_one_per_line() {
        assert_eq!(
            fields(&[("name", "h1".into()), ("capacity", "3".into())]),
            "name      h1\ncapacity  3"
        );
    }

    #[test]
    fn sizes_are_human_readable() {
        for (bytes, text) in [
            (0, "0 B"),
            (10_239, "10239 B"),
            (10_240, "10 KiB"),
            (25_000_000_000, "23 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
