//! Results of a run: rows with their targets, as a table, as JSON and as a section of docs/performance.md.

use anyhow::{Context, Result};
use serde::Serialize;
use std::{fmt::Write as _, fs, path::Path};

/// Markers around the table in docs/performance.md.
const BEGIN: &str = "<!-- bench -->";
const END: &str = "<!-- /bench -->";

/// Target of a figure.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    /// Upper limit.
    AtMost(f64),
    /// Lower limit.
    AtLeast(f64),
}

/// One figure of the report.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    what: String,
    figure: f64,
    unit: &'static str,
    bar: Option<Bar>,
    met: Option<bool>,
    note: String,
    samples: Vec<f64>,
}

impl Row {
    /// Creates a row with one figure.
    pub(crate) fn new(what: impl Into<String>, figure: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            figure,
            unit,
            bar: None,
            met: None,
            note: String::new(),
            samples: Vec::new(),
        }
    }

    /// Creates a row with the median of several samples.
    pub(crate) fn median(what: impl Into<String>, samples: &[f64], unit: &'static str) -> Self {
        Self {
            samples: samples.to_vec(),
            ..Self::new(what, median(samples), unit)
        }
    }

    /// Adds a target.
    pub(crate) fn bar(mut self, bar: Bar) -> Self {
        self.met = Some(match bar {
            Bar::AtMost(most) => self.figure <= most,
            Bar::AtLeast(least) => self.figure >= least,
        });
        self.bar = Some(bar);
        self
    }

    /// Adds a note.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Returns the line of a Markdown table.
    fn line(&self) -> String {
        format!("| {} |", self.cells().join(" | "))
    }

    /// Returns the cells of the table: what, figure, target, met, note.
    fn cells(&self) -> [String; 5] {
        let unit = if self.unit.is_empty() {
            String::new()
        } else {
            format!(" {}", self.unit)
        };
        let bar = match self.bar {
            Some(Bar::AtMost(most)) => format!("≤ {}{unit}", number(most)),
            Some(Bar::AtLeast(least)) => format!("≥ {}{unit}", number(least)),
            None => String::new(),
        };
        let met = match self.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "",
        };
        [
            self.what.clone(),
            format!("{}{unit}", number(self.figure)),
            bar,
            met.to_owned(),
            self.note.clone(),
        ]
    }
}

/// Results of a run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// Renders the table for a terminal.
    pub(crate) fn table(&self) -> String {
        let rows: Vec<[String; 5]> = self.rows.iter().map(Row::cells).collect();
        let wide = |column: usize| {
            rows.iter()
                .map(|cells| cells[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths = [wide(0), wide(1), wide(2), wide(3)];
        let mut text = String::new();
        for [what, figure, bar, met, note] in &rows {
            let [a, b, c, d] = widths;
            let line = format!("{what:<a$}  {figure:>b$}  {bar:>c$}  {met:<d$}  {note}");
            writeln!(text, "{}", line.trim_end()).expect("writing to a String cannot fail");
        }
        writeln!(text, "{}", self.circumstances()).expect("writing to a String cannot fail");
        text
    }

    /// Writes the JSON file.
    pub(crate) fn write_json(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, serde_json::to_string_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Replaces the table between the page's markers.
    pub(crate) fn write_page(&self, path: &Path) -> Result<()> {
        let text = fs::read_to_string(path)?;
        let (before, rest) = text
            .split_once(BEGIN)
            .with_context(|| format!("{} has no {BEGIN}", path.display()))?;
        let (_, after) = rest
            .split_once(END)
            .with_context(|| format!("{} has no {END}", path.display()))?;
        Ok(fs::write(
            path,
            format!("{before}{BEGIN}\n{}{END}{after}", self.markdown()),
        )?)
    }

    /// Replaces the rows of these measures in the page's table and appends new ones. The other rows, and the
    /// circumstances of the run that wrote them, stay.
    pub(crate) fn update_page(&self, path: &Path) -> Result<()> {
        let text = fs::read_to_string(path)?;
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        for row in &self.rows {
            let line = row.line();
            let first_cell = format!("| {} |", row.what);
            if let Some(known) = lines.iter_mut().find(|known| known.starts_with(&first_cell)) {
                *known = line;
                continue;
            }
            let end = lines.iter().position(|line| line == END);
            let end = end.with_context(|| format!("{} has no {END}", path.display()))?;
            let last = lines[..end].iter().rposition(|line| line.starts_with('|'));
            let last = last.with_context(|| format!("{} has no table", path.display()))?;
            lines.insert(last + 1, line);
        }
        Ok(fs::write(path, lines.join("\n") + "\n")?)
    }

    fn markdown(&self) -> String {
        let mut text = "| measure | figure | target | | |\n|---|---:|---:|---|---|\n".to_owned();
        for row in &self.rows {
            writeln!(text, "{}", row.line()).expect("writing to a String cannot fail");
        }
        writeln!(text, "\n{}", self.circumstances()).expect("writing to a String cannot fail");
        text
    }

    fn circumstances(&self) -> String {
        format!(
            "{}; load average {} before, {} after.",
            self.machine, self.load_before, self.load_after
        )
    }
}

/// Returns the median.
pub(crate) fn median(samples: &[f64]) -> f64 {
    quantile(samples, 50)
}

/// Returns a percentile.
pub(crate) fn quantile(samples: &[f64], percent: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// Formats a number: integers and large values without fraction, others with two digits.
fn number(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}
