//! Calls of an agent to its platform: the time limit, and errors that a verb can branch on.

use crate::{Error, Result};
use std::{fmt::Display, time::Duration};

/// Maximum characters of a platform's message in an error.
const MESSAGE_LIMIT: usize = 4000;
/// The same before the peer was verified as such a platform: its answer may be another service's data.
const UNVERIFIED_MESSAGE_LIMIT: usize = 200;

/// The error of one call. Keeps the platform's answer, because verbs branch on it.
#[derive(Debug)]
pub enum CallError<A> {
    /// The platform answered with an error.
    Answer(A),
    /// Any other error, already mapped.
    Other(Error),
}

/// An error answer of one kind of platform.
pub trait Answer {
    /// Its status code, as in HTTP.
    fn code(&self) -> u16;

    /// The platform's message, sanitized; may be empty.
    fn message(&self) -> &str;

    /// The error for the executor. `action` completes "the platform failed to …".
    fn into_error(self, action: &str) -> Error;

    /// The message, or the code if there is none.
    fn text(&self) -> String {
        match self.message() {
            "" => format!("status {}", self.code()),
            message => message.to_owned(),
        }
    }
}

impl<A> From<Error> for CallError<A> {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl<A: Answer> CallError<A> {
    /// The platform's answer, if it gave one.
    pub fn answer(&self) -> Option<&A> {
        match self {
            Self::Answer(answer) => Some(answer),
            Self::Other(_) => None,
        }
    }

    /// Returns true if the platform answered with this status code.
    pub fn has_code(&self, code: u16) -> bool {
        self.answer().is_some_and(|answer| answer.code() == code)
    }

    /// Returns true if the platform's message contains this text.
    pub fn message_contains(&self, text: &str) -> bool {
        self.answer()
            .is_some_and(|answer| answer.message().contains(text))
    }

    /// Maps to an error for the executor. `action` completes "the platform failed to …".
    pub fn into_error(self, action: &str) -> Error {
        match self {
            Self::Answer(answer) => answer.into_error(action),
            Self::Other(error) => error,
        }
    }
}

/// Waits for a call to the platform at an address, up to `limit`, and maps its error. The call is boxed to keep
/// the futures of verbs small.
pub fn call_within<'a, T: 'a, E, A: 'a>(
    limit: Duration,
    address: impl Display + Send + 'a,
    call: impl Future<Output = Result<T, E>> + Send + 'a,
    map: impl FnOnce(E) -> CallError<A> + Send + 'a,
) -> impl Future<Output = Result<T, CallError<A>>> + Send + 'a {
    let call = Box::pin(call);
    async move {
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(map),
            Err(_) => Err(CallError::Other(Error::Unreachable(format!(
                "{address}: no response within {} s",
                limit.as_secs()
            )))),
        }
    }
}

/// Treats absence as success, for removals.
pub fn absent_is_fine<T, A: Answer>(result: Result<T, CallError<A>>) -> Result<(), CallError<A>> {
    match result {
        Err(error) if error.has_code(404) => Ok(()),
        other => other.map(drop),
    }
}

/// A platform's message for display: shortened, on one line.
pub fn sanitized(message: &str, is_verified: bool) -> String {
    let limit = if is_verified {
        MESSAGE_LIMIT
    } else {
        UNVERIFIED_MESSAGE_LIMIT
    };
    let mut text = String::new();
    for (count, character) in message.trim().chars().enumerate() {
        if count == limit {
            text.push('…');
            break;
        }
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Known(u16, &'static str);

    impl Answer for Known {
        fn code(&self) -> u16 {
            self.0
        }

        fn message(&self) -> &str {
            self.1
        }

        fn into_error(self, action: &str) -> Error {
            Error::Refused(format!("failed to {action}: {}", self.text()))
        }
    }

    #[test]
    fn only_an_answer_has_a_code_and_a_message() {
        let answer = CallError::Answer(Known(409, "in use"));
        assert!(answer.has_code(409) && !answer.has_code(404));
        assert!(answer.message_contains("use") && !answer.message_contains("free"));
        assert_eq!(answer.into_error("do it").to_string(), "failed to do it: in use");
        let silent = CallError::Answer(Known(500, ""));
        assert_eq!(
            silent.into_error("do it").to_string(),
            "failed to do it: status 500"
        );
        let other = CallError::<Known>::from(Error::Busy("409 in use".into()));
        assert!(!other.has_code(409) && !other.message_contains("use"));
        assert!(matches!(other.into_error("do it"), Error::Busy(_)));
    }

    #[test]
    fn absence_is_success_only_as_an_answer() {
        assert!(absent_is_fine::<(), _>(Err(CallError::Answer(Known(404, "gone")))).is_ok());
        assert!(absent_is_fine::<(), _>(Err(CallError::Answer(Known(409, "gone")))).is_err());
        let unreachable = CallError::<Known>::Other(Error::Unreachable("404".into()));
        assert!(absent_is_fine::<(), _>(Err(unreachable)).is_err());
    }

    #[tokio::test]
    async fn a_call_without_a_response_is_unreachable() {
        let map = |code| CallError::Answer(Known(code, "no"));
        let pending = std::future::pending::<Result<(), u16>>();
        let late = call_within(Duration::ZERO, "tcp://h:1", pending, map).await;
        let error = late.expect_err("no response").into_error("do it");
        assert!(matches!(&error, Error::Unreachable(text) if text == "tcp://h:1: no response within 0 s"));
        let (limit, answers) = (Duration::from_secs(30), |answer: Result<u8, u16>| async move {
            answer
        });
        assert!(matches!(
            call_within(limit, "a", answers(Ok(7)), map).await,
            Ok(7)
        ));
        let refused = call_within(limit, "a", answers(Err(409)), map).await;
        assert!(refused.is_err_and(|error| error.has_code(409)));
    }

    #[test]
    fn a_message_is_shortened_and_has_no_control_characters() {
        let message = format!(" \u{1b}[31mred\nERROR forged {}\n", "x".repeat(5000));
        let length = |is_verified| {
            let text = sanitized(&message, is_verified);
            assert!(text.starts_with("\\u{1b}[31mred\\nERROR forged x"), "{text}");
            assert!(
                !text.chars().any(char::is_control) && text.ends_with('…'),
                "{text}"
            );
            text.chars().count()
        };
        assert!((UNVERIFIED_MESSAGE_LIMIT..UNVERIFIED_MESSAGE_LIMIT + 20).contains(&length(false)));
        assert!((MESSAGE_LIMIT..MESSAGE_LIMIT + 20).contains(&length(true)));
        assert_eq!(sanitized(" short\n", false), "short");
    }
}
