//! Progress of an operation on standard error: a few redrawn lines on a terminal, otherwise one line per
//! change.

use crate::{duration, operation_view::subject, output};
use chainpool_api::{Operation, OperationState, Step, StepState};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, IsTerminal},
};

/// Maximum number of running steps shown on a terminal; the rest is only counted.
const MAX_STEPS: usize = 6;
/// Maximum line width: a wrapped line cannot be redrawn.
const WIDTH: usize = 79;

/// Progress shown so far.
pub(crate) struct Progress {
    terminal: bool,
    /// Number of lines on the terminal.
    drawn: usize,
    state: Option<OperationState>,
    steps: BTreeMap<u32, (StepState, Option<String>)>,
}

impl Progress {
    /// Empty progress.
    pub(crate) fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            drawn: 0,
            state: None,
            steps: BTreeMap::new(),
        }
    }

    /// Shows the changes.
    pub(crate) fn show(&mut self, operation: &Operation) {
        if self.terminal {
            self.draw(&live_lines(operation));
        } else {
            for line in self.changes(operation) {
                output::note(line);
            }
        }
    }

    /// Prints a message in between.
    pub(crate) fn note(&mut self, text: &str) {
        self.draw(&[]);
        output::note(text);
    }

    /// Clears the live lines; the caller prints the result.
    pub(crate) fn end(&mut self) {
        self.draw(&[]);
    }

    fn draw(&mut self, lines: &[String]) {
        let mut text = String::new();
        if self.drawn > 0 {
            // Move to the first drawn line and clear from there (ECMA-48: CPL, ED).
            let _infallible = write!(text, "\x1b[{}F\x1b[J", self.drawn);
        }
        text.push_str(&lines.join("\n"));
        self.drawn = lines.len();
        match (text.is_empty(), lines.is_empty()) {
            (true, _) => {}
            (false, true) => output::note_part(&text),
            (false, false) => output::note_part(&format!("{text}\n")),
        }
    }

    /// One line per change since the last call.
    fn changes(&mut self, operation: &Operation) -> Vec<String> {
        let mut lines = Vec::new();
        if self.state != Some(operation.state) && !operation.state.is_over() {
            lines.push(format!("{}: {}", subject(operation), operation.state));
        }
        self.state = Some(operation.state);
        for step in &operation.steps {
            let news = (step.state, step.note.clone());
            if step.state != StepState::Pending && self.steps.get(&step.seq) != Some(&news) {
                lines.push(format!(
                    "  [{}/{}] {}",
                    step.seq + 1,
                    operation.total.max(step.seq + 1),
                    step_text(step)
                ));
                self.steps.insert(step.seq, news);
            }
        }
        lines
    }
}

/// The operation and its running steps.
fn live_lines(operation: &Operation) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: {} {}/{}",
        subject(operation),
        operation.state,
        operation.done,
        operation.total
    )];
    let moving: Vec<&Step> = operation
        .steps
        .iter()
        .filter(|step| matches!(step.state, StepState::Started | StepState::Failed))
        .collect();
    lines.extend(
        moving
            .iter()
            .take(MAX_STEPS)
            .map(|step| format!("  {}", step_text(step))),
    );
    if moving.len() > MAX_STEPS {
        lines.push(format!("  and {} more", moving.len() - MAX_STEPS));
    }
    // Drawn lines bypass the escaping of `note`.
    lines
        .iter()
        .map(|line| output::clean(line).chars().take(WIDTH).collect())
        .collect()
}

fn step_text(step: &Step) -> String {
    let mut text = format!("{}: {}", step.title, step.state);
    if let (Some(start), Some(end)) = (step.started_at, step.ended_at) {
        let _infallible = write!(text, " in {}", duration::elapsed(end.millis_since(start)));
    }
    if let Some(note) = &step.note {
        let _infallible = write!(text, " ({note})");
    }
    output::clean(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation_view::tests::example;

    #[test]
    fn without_a_terminal_every_change_is_one_line() {
        let mut progress = Progress {
            terminal: false,
            drawn: 0,
            state: None,
            steps: BTreeMap::new(),
        };
        let mut operation = example();
        let first = progress.changes(&operation);
        let again = progress.changes(&operation);
        operation.steps[1].note = Some("waits for the image".into());
        let noted = progress.changes(&operation);
        operation.state = OperationState::Succeeded;
        operation.steps[1].state = StepState::Done;
        let last = progress.changes(&operation);
        assert!(again.is_empty());
        insta::assert_snapshot!([first, noted, last].concat().join("\n"));
    }

    #[test]
    fn terminal_lines_never_wrap_and_are_limited_in_number() {
        let mut operation = example();
        let mut step = operation.steps[1].clone();
        step.title = "é".repeat(200);
        operation.steps = vec![step; 40];
        let lines = live_lines(&operation);
        assert_eq!(lines.len(), MAX_STEPS + 2);
        assert!(
            lines.iter().all(|line| line.chars().count() <= WIDTH),
            "{lines:?}"
        );
        assert_eq!(lines.last().map(String::as_str), Some("  and 34 more"));
    }
}
