//! What was measured: rows with their bars, as a table, as JSON and as a part of the README.

use anyhow::{Context, Result};
use serde::Serialize;
use std::{fmt::Write as _, fs, path::Path};

/// The lines between which the README holds the table.
const BEGIN: &str = "<!-- bench -->";
const END: &str = "<!-- /bench -->";

/// What a figure is held against.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// One figure.
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
    /// A figure that stands for itself.
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

    /// The median of several.
    pub(crate) fn median(what: impl Into<String>, samples: &[f64], unit: &'static str) -> Self {
        Self {
            samples: samples.to_vec(),
            ..Self::new(what, median(samples), unit)
        }
    }

    /// The same, held against a bar.
    pub(crate) fn bar(mut self, bar: Bar) -> Self {
        self.met = Some(match bar {
            Bar::AtMost(most) => self.figure <= most,
            Bar::AtLeast(least) => self.figure >= least,
        });
        self.bar = Some(bar);
        self
    }

    /// The same, with words.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// The cells of its line: what, figure, bar, met, note.
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

/// All of a run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// For people at a terminal.
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
            writeln!(text, "{}", line.trim_end()).expect("a string takes all");
        }
        writeln!(text, "{}", self.circumstances()).expect("a string takes all");
        text
    }

    /// Writes it for programs.
    pub(crate) fn write_json(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, serde_json::to_string_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Puts it into the README between its markers.
    pub(crate) fn write_readme(&self, path: &Path) -> Result<()> {
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

    fn markdown(&self) -> String {
        let mut text = "| what | figure | bar | | |\n|---|---:|---:|---|---|\n".to_owned();
        for cells in self.rows.iter().map(Row::cells) {
            writeln!(text, "| {} |", cells.join(" | ")).expect("a string takes all");
        }
        writeln!(text, "\n{}", self.circumstances()).expect("a string takes all");
        text
    }

    fn circumstances(&self) -> String {
        format!(
            "{}; load average {} before, {} after.",
            self.machine, self.load_before, self.load_after
        )
    }
}

/// The middle one.
pub(crate) fn median(samples: &[f64]) -> f64 {
    quantile(samples, 50)
}

/// The value below which so many of a hundred lie.
pub(crate) fn quantile(samples: &[f64], percent: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

/// Whole numbers whole, large ones without fractions, small ones with two digits.
fn number(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}
