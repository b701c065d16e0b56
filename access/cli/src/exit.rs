//! How a command ends: one number for scripts, one message for people.

use chainpool_api::Problem;
use std::fmt::{self, Write as _};

/// The end of `chainpool --help`.
pub(crate) const HELP: &str = "\
Exit codes:
    0  done
    1  something is wrong: the status is not ok, or an operation failed
    2  the command line is wrong, or a confirmation is missing
    3  there is no such thing
    4  a conflict: nothing is free, the thing is in use, or it exists already
    5  not signed in, or not allowed
    6  the server or a host cannot be reached
    7  a value is not valid
  130  interrupted; what was accepted goes on";

/// The numbers that scripts can rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Wrong,
    Usage,
    NotFound,
    Conflict,
    Forbidden,
    Unreachable,
    Invalid,
    Interrupted,
}

impl Exit {
    /// The number that says the same as an HTTP status of a refusal.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            400 | 413 | 415 | 422 | 428 => Self::Invalid,
            401 | 403 => Self::Forbidden,
            404 => Self::NotFound,
            409 | 412 => Self::Conflict,
            502..=504 => Self::Unreachable,
            _ => Self::Wrong,
        }
    }

    /// The number itself.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Wrong => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Forbidden => 5,
            Self::Unreachable => 6,
            Self::Invalid => 7,
            Self::Interrupted => 130,
        }
    }
}

/// Why a command did not do what it was asked. An empty message was said already.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The number to end with.
    pub(crate) exit: Exit,
    /// What is wrong and what to do next.
    pub(crate) message: String,
}

/// The result of a command.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Ends with a number and a message.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// A refusal of the server, with every field that it named.
    pub(crate) fn refused(status: u16, problem: &Problem) -> Self {
        let mut message = problem.message.clone();
        for (field, why) in problem
            .fields
            .iter()
            .filter(|(_, why)| !problem.message.contains(why.as_str()))
        {
            let _infallible = write!(message, "\n  {field}: {why}");
        }
        if status == 401 {
            message.push_str("\ngive a token with --token-file or CHAINPOOL_TOKEN, or run this as the one who runs the server");
        }
        if let (500, Some(id)) = (status, &problem.request_id) {
            let _infallible = write!(message, "\n  request {id}");
        }
        Self::new(Exit::of_status(status), message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_refusal_has_its_number() {
        let cases = [
            (400, 7),
            (422, 7),
            (401, 5),
            (403, 5),
            (404, 3),
            (409, 4),
            (412, 4),
            (429, 1),
            (500, 1),
            (503, 6),
            (507, 1),
        ];
        for (status, code) in cases {
            assert_eq!(Exit::of_status(status).code(), code, "{status}");
        }
    }

    #[test]
    fn the_help_names_every_number() {
        use Exit::{Conflict, Done, Forbidden, Interrupted, Invalid, NotFound, Unreachable, Usage, Wrong};
        for exit in [
            Done,
            Wrong,
            Usage,
            NotFound,
            Conflict,
            Forbidden,
            Unreachable,
            Invalid,
            Interrupted,
        ] {
            assert!(
                HELP.lines()
                    .any(|line| line.trim_start().starts_with(&format!("{}  ", exit.code()))),
                "{exit:?}"
            );
        }
    }

    #[test]
    fn a_field_is_named_once() {
        let fields = BTreeMap::from([("capacity".to_owned(), "must be 1 at least".to_owned())]);
        let mut problem = Problem {
            code: "invalid".into(),
            message: "capacity: must be 1 at least".into(),
            fields,
            request_id: None,
        };
        assert_eq!(
            Failure::refused(400, &problem).message,
            "capacity: must be 1 at least"
        );
        problem.message = "the host is not valid".into();
        assert_eq!(
            Failure::refused(400, &problem).message,
            "the host is not valid\n  capacity: must be 1 at least"
        );
    }
}
