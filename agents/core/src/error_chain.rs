//! Errors as text.

use std::{error::Error, iter::successors};

/// An error with its causes, in one line. A cause that the text already contains is omitted: many errors
/// repeat theirs.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in successors(error.source(), |&cause| cause.source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    fn chain(texts: &[&'static str]) -> Link {
        let (text, causes) = texts.split_first().unwrap();
        Link {
            text,
            source: (!causes.is_empty()).then(|| Box::new(chain(causes))),
        }
    }

    #[test]
    fn an_error_is_followed_by_its_causes_without_repetition() {
        for (texts, line) in [
            (&["cannot connect"][..], "cannot connect"),
            (
                &["cannot connect", "TLS", "certificate expired"],
                "cannot connect: TLS: certificate expired",
            ),
            (
                &["query failed: disk full", "disk full", "os error 28"],
                "query failed: disk full: os error 28",
            ),
            (&["refused", "", "refused"], "refused"),
        ] {
            assert_eq!(error_chain(&chain(texts)), line);
        }
    }
}
