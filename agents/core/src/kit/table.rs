//! The table of promises and platforms between two markers of a page.

use super::{Outcome, Report, promises};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

const BEGIN: &str = "<!-- kit: begin -->";
const END: &str = "<!-- kit: end -->";
/// The cell of a promise that was not tested on this platform yet.
pub const NOT_RUN: &str = "not run yet";

impl Report {
    /// Ends a test binary: prints all outcomes, skipped ones in capitals, and writes this column into the
    /// table of the page that `CHAINPOOL_KIT_TABLE` names.
    pub fn finish(&self) -> ExitCode {
        print!("{self}");
        let mut fine = self.failed().is_empty();
        if let Some(page) = std::env::var_os("CHAINPOOL_KIT_TABLE")
            && let Err(error) = write(Path::new(&page), self)
        {
            println!("the table in {} could not be written: {error}", page.display());
            fine = false;
        }
        if fine {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Replaces the report's column in the page of this path; other columns stay, rows follow the list of
/// promises.
pub fn write(page: &Path, report: &Report) -> io::Result<()> {
    // Another platform's kit may run beside this one.
    let folder = fs::File::open(
        page.parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new(".")),
    )?;
    folder.lock()?;
    let text = fs::read_to_string(page)?;
    let merged = merge(&text, report)
        .ok_or_else(|| io::Error::other(format!("markers {BEGIN} and {END} are missing")))?;
    if merged != text {
        // Atomic: others may read the page meanwhile.
        let mut beside = PathBuf::from(page).into_os_string();
        beside.push(".new");
        fs::write(&beside, merged)?;
        fs::rename(&beside, page)?;
    }
    Ok(())
}

/// The page with the report's column replaced; `None` when it has no markers.
pub fn merge(page: &str, report: &Report) -> Option<String> {
    let (head, rest) = page.split_once(BEGIN)?;
    let (table, tail) = rest.split_once(END)?;
    let mut rows = table.lines().filter_map(cells);
    let mut columns: Vec<String> = rows
        .next()
        .map(|header| header.into_iter().skip(1).collect())
        .unwrap_or_default();
    let mut known = BTreeMap::<(String, String), String>::new();
    for row in rows {
        let Some((first, cells)) = row.split_first() else {
            continue;
        };
        let promise = first.split('`').nth(1).unwrap_or_default();
        for (column, cell) in columns.iter().zip(cells) {
            known.insert((promise.to_owned(), column.clone()), cell.clone());
        }
    }
    if !columns.contains(&report.platform) {
        columns.push(report.platform.clone());
    }
    for (promise, outcome, _) in &report.rows {
        known.insert(((*promise).to_owned(), report.platform.clone()), cell(outcome));
    }
    let mut table = format!(
        "| promise | {} |\n|---|{}\n",
        columns.join(" | "),
        "---|".repeat(columns.len())
    );
    for promise in promises() {
        let of = |column: &String| {
            known
                .get(&(promise.name.to_owned(), column.clone()))
                .map_or(NOT_RUN, String::as_str)
        };
        let cells: Vec<_> = columns.iter().map(of).collect();
        table.extend([
            "| `",
            promise.name,
            "`: ",
            promise.description,
            " | ",
            &cells.join(" | "),
            " |\n",
        ]);
    }
    Some(format!("{head}{BEGIN}\n{table}{END}{tail}"))
}

/// The cells of a line of a table; `None` for other lines and for the one below the header.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    (!inner.starts_with("---")).then(|| inner.split('|').map(|cell| cell.trim().to_owned()).collect())
}

/// An outcome as a cell, without a failure's message: that differs at each run.
fn cell(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed => "passed".into(),
        Outcome::Failed(_) => "**failed**".into(),
        Outcome::NotEnforced(why) => format!("not enforced here: {}", one_line(why)),
        Outcome::Skipped(why) => format!("**skipped**: {}", one_line(why)),
    }
}

fn one_line(text: &str) -> String {
    text.replace('|', "/")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn report(platform: &str, rows: &[(&'static str, Outcome)]) -> Report {
        let rows = rows
            .iter()
            .map(|(name, outcome)| (*name, outcome.clone(), Duration::ZERO))
            .collect();
        Report {
            platform: platform.into(),
            seed: 1,
            rows,
        }
    }

    #[test]
    fn a_column_is_replaced_and_the_others_stay() {
        let page = format!("before\n{BEGIN}\n| promise | A | B |\n|---|---|---|\n{END}\nafter\n");
        let first = report(
            "A",
            &[
                ("create", Outcome::Passed),
                ("adopt", Outcome::NotEnforced("no | way".into())),
            ],
        );
        let page = merge(&page, &first).expect("markers");
        let page = merge(&page, &report("B", &[("create", Outcome::Failed("x".into()))])).expect("markers");
        let line = |page: &str, name: &str| {
            page.lines()
                .find(|line| line.starts_with(&format!("| `{name}`")))
                .expect("a row")
                .to_owned()
        };
        assert!(
            line(&page, "create").ends_with("| passed | **failed** |"),
            "{page}"
        );
        assert!(
            line(&page, "adopt").ends_with("| not enforced here: no / way | not run yet |"),
            "{page}"
        );
        let page = merge(
            &page,
            &report("A", &[("create", Outcome::Skipped("no root".into()))]),
        )
        .expect("markers");
        assert!(
            line(&page, "create").ends_with("| **skipped**: no root | **failed** |"),
            "{page}"
        );
        assert!(
            page.starts_with("before\n")
                && page.ends_with("after\n")
                && page.lines().count() == promises().len() + 6
        );
        assert_eq!(merge("no markers", &first), None);
    }
}
