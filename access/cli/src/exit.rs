//! Result of a command: an exit status for scripts, a message for people.

use chainpool_api::Problem;
use std::fmt::{self, Write as _};

/// The end of `chainpool --help`.
pub(crate) const HELP: &str = "\
Exit codes:
    0  success
    1  error: the status has problems, or an operation failed
    2  invalid command line or configuration file, or missing confirmation
    3  not found
    4  conflict: none free, in use, or already exists
    5  not signed in, or permission denied
    6  server or host unreachable
    7  invalid value
  130  interrupted; accepted operations continue on the server";

/// Exit status, stable for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Success,
    Error,
    Usage,
    NotFound,
    Conflict,
    Forbidden,
    Unreachable,
    Invalid,
    Interrupted,
}

impl Exit {
    /// Exit status for the HTTP status of an error response.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            400 | 413 | 415 | 422 | 428 => Self::Invalid,
            401 | 403 => Self::Forbidden,
            404 => Self::NotFound,
            409 | 412 => Self::Conflict,
            502..=504 => Self::Unreachable,
            _ => Self::Error,
        }
    }

    /// Numeric exit status.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Error => 1,
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

/// Failure of a command. An empty message means that the output already shows it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Exit status.
    pub(crate) exit: Exit,
    /// Error and remedy.
    pub(crate) message: String,
}

/// The result of a command.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Failure with an exit status and a message.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// Failure for an error response of the server, with all its fields.
    pub(crate) fn from_problem(status: u16, problem: &Problem) -> Self {
        let mut message = problem.message.clone();
        for (field, why) in problem
            .fields
            .iter()
            .filter(|(_, why)| !problem.message.contains(why.as_str()))
        {
            let _infallible = write!(message, "\n  {field}: {why}");
        }
        if status == 401 {
            message.push_str(
                "\nprovide a token with --token-file or CHAINPOOL_TOKEN, or run this as the server's user",
            );
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
    fn every_http_status_has_its_exit_status() {
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
    fn the_help_lists_every_exit_status() {
        use Exit::{Conflict, Error, Forbidden, Interrupted, Invalid, NotFound, Success, Unreachable, Usage};
        for exit in [
            Success,
            Error,
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
    fn a_field_error_is_printed_once() {
        let fields = BTreeMap::from([("capacity".to_owned(), "must be 1 at least".to_owned())]);
        let mut problem = Problem {
            code: "invalid".into(),
            message: "capacity: must be 1 at least".into(),
            fields,
            request_id: None,
        };
        assert_eq!(
            Failure::from_problem(400, &problem).message,
            "capacity: must be 1 at least"
        );
        problem.message = "the host is not valid".into();
        assert_eq!(
            Failure::from_problem(400, &problem).message,
            "the host is not valid\n  capacity: must be 1 at least"
        );
    }
}
