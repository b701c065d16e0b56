//! The progress of an operation on the error output: on a terminal a few lines that are drawn again at every change, else
//! a line a change.

use crate::{operation::subject, output, span};
use chainpool_api::{Operation, OperationState, Step, StepState};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, IsTerminal},
};

/// Steps under way that are shown on a terminal; more are counted.
const SHOWN: usize = 6;
/// Longer lines would wrap, and a wrapped line cannot be drawn again.
const WIDTH: usize = 79;

/// What was shown so far.
pub(crate) struct Progress {
    terminal: bool,
    /// Lines that are on the terminal now.
    drawn: usize,
    state: Option<OperationState>,
    steps: BTreeMap<u32, (StepState, Option<String>)>,
}

impl Progress {
    /// Nothing was shown.
    pub(crate) fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            drawn: 0,
            state: None,
            steps: BTreeMap::new(),
        }
    }

    /// Shows what is new.
    pub(crate) fn show(&mut self, operation: &Operation) {
        if self.terminal {
            self.draw(&live(operation));
        } else {
            for line in self.changes(operation) {
                output::note(line);
            }
        }
    }

    /// Says something in between.
    pub(crate) fn say(&mut self, text: &str) {
        self.draw(&[]);
        output::note(text);
    }

    /// Takes the live lines away: the end is said elsewhere.
    pub(crate) fn end(&mut self) {
        self.draw(&[]);
    }

    fn draw(&mut self, lines: &[String]) {
        let mut text = String::new();
        if self.drawn > 0 {
            // Up to the first line drawn, and clear from there on (ECMA-48: CPL, ED).
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

    /// One line for each thing that changed since the last time.
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
                    step_words(step)
                ));
                self.steps.insert(step.seq, news);
            }
        }
        lines
    }
}

/// The head, and the steps under way.
fn live(operation: &Operation) -> Vec<String> {
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
            .take(SHOWN)
            .map(|step| format!("  {}", step_words(step))),
    );
    if moving.len() > SHOWN {
        lines.push(format!("  and {} more", moving.len() - SHOWN));
    }
    // What is drawn goes to the terminal as it is.
    lines
        .iter()
        .map(|line| output::clean(line).chars().take(WIDTH).collect())
        .collect()
}

fn step_words(step: &Step) -> String {
    let mut words = format!("{}: {}", step.title, step.state);
    if let (Some(start), Some(end)) = (step.started_at, step.ended_at) {
        let _infallible = write!(words, " in {}", span::took(end.millis_since(start)));
    }
    if let Some(note) = &step.note {
        let _infallible = write!(words, " ({note})");
    }
    output::clean(&words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::tests::example;

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
    fn on_a_terminal_no_line_wraps_and_many_steps_stay_few_lines() {
        let mut operation = example();
        let mut step = operation.steps[1].clone();
        step.title = "é".repeat(200);
        operation.steps = vec![step; 40];
        let lines = live(&operation);
        assert_eq!(lines.len(), SHOWN + 2);
        assert!(
            lines.iter().all(|line| line.chars().count() <= WIDTH),
            "{lines:?}"
        );
        assert_eq!(lines.last().map(String::as_str), Some("  and 34 more"));
    }
}
