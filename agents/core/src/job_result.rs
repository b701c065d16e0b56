//! The result of a job: what it prints to standard output between two marks.

use crate::{Error, LogStream, Result, Secret};
use futures::TryStreamExt;

/// The line before a result.
pub const RESULT_BEGIN: &str = "-----BEGIN CHAINPOOL RESULT-----";
/// The line after a result.
pub const RESULT_END: &str = "-----END CHAINPOOL RESULT-----";
/// The largest result in bytes.
pub const RESULT_LIMIT: usize = 1 << 20;

/// Reads the result of a completed job from its log, without the line end before [`RESULT_END`]. Of several results
/// the last one counts: a job may have run more than once. [`Error::Refused`]: the log has no whole result, or it
/// exceeds [`RESULT_LIMIT`]. Platforms may merge a job's standard error into its log, so a job prints nothing there
/// between the marks.
pub async fn job_result(mut log: LogStream) -> Result<Secret<Vec<u8>>> {
    let mut found: Option<Secret<Vec<u8>>> = None;
    // The result that is being read.
    let mut open: Option<Vec<u8>> = None;
    // A very long line arrives in pieces; a mark is a whole line.
    let mut starts_line = true;
    while let Some(line) = log.try_next().await? {
        if line.stderr {
            continue;
        }
        let mark = line.bytes.strip_suffix(b"\n").filter(|_| starts_line);
        starts_line = line.bytes.ends_with(b"\n");
        match (&mut open, mark) {
            (_, Some(mark)) if mark == RESULT_BEGIN.as_bytes() => open = Some(Vec::new()),
            (Some(_), Some(mark)) if mark == RESULT_END.as_bytes() => {
                let mut result = open.take().unwrap_or_default();
                if result.last() == Some(&b'\n') {
                    result.pop();
                }
                found = Some(Secret::new(result));
            }
            (Some(result), _) => {
                // The last line end is not part of it.
                if result.len() + line.bytes.len() > RESULT_LIMIT + 1 {
                    return Err(Error::Refused(format!(
                        "a job's result exceeds {RESULT_LIMIT} bytes: make the job print less"
                    )));
                }
                result.extend_from_slice(&line.bytes);
            }
            (None, _) => {}
        }
    }
    found.ok_or_else(|| {
        Error::Refused(format!(
            "a job printed no result: it must print it between the lines {RESULT_BEGIN:?} and {RESULT_END:?}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogLine;
    use futures::{StreamExt, stream};

    async fn result_of(log: &[(bool, &str)]) -> std::result::Result<String, String> {
        let lines: Vec<_> = log
            .iter()
            .map(|(stderr, text)| {
                Ok(LogLine {
                    stderr: *stderr,
                    bytes: text.as_bytes().to_vec().into(),
                })
            })
            .collect();
        let found = job_result(stream::iter(lines).boxed()).await;
        found
            .map(|found| String::from_utf8_lossy(found.expose()).into_owned())
            .map_err(|error| error.to_string())
    }

    fn line(mark: &str) -> String {
        format!("{mark}\n")
    }

    #[tokio::test]
    async fn a_result_is_the_text_between_the_marks() {
        let (begin, end) = (line(RESULT_BEGIN), line(RESULT_END));
        let whole = [
            (false, "before\n"),
            (false, &begin),
            (true, "a warning\n"),
            (false, "one\n"),
            (false, "two in "),
            (false, "pieces\n"),
            (false, &end),
            (false, "after\n"),
        ];
        assert_eq!(result_of(&whole).await, Ok("one\ntwo in pieces".to_owned()));
        let empty = [(false, begin.as_str()), (false, &end)];
        assert_eq!(result_of(&empty).await, Ok(String::new()));
        let again = [
            &whole[..],
            &[(false, begin.as_str()), (false, "second\n"), (false, &end)],
        ]
        .concat();
        assert_eq!(result_of(&again).await, Ok("second".to_owned()));
        // The second run was cut off.
        let cut = [&whole[..], &[(false, begin.as_str()), (false, "sec")]].concat();
        assert_eq!(result_of(&cut).await, Ok("one\ntwo in pieces".to_owned()));
    }

    #[tokio::test]
    async fn a_mark_is_a_whole_line() {
        let (begin, end) = (line(RESULT_BEGIN), line(RESULT_END));
        let inside = [
            (false, begin.as_str()),
            (false, "a long line "),
            (false, &end),
            (false, &end),
        ];
        assert_eq!(result_of(&inside).await, Ok(format!("a long line {RESULT_END}")));
        let none = [
            (false, "no result\n"),
            (true, &begin),
            (true, "x\n"),
            (true, &end),
        ];
        assert!(
            result_of(&none)
                .await
                .is_err_and(|why| why.contains(RESULT_BEGIN))
        );
    }

    #[tokio::test]
    async fn a_result_has_a_limit() {
        let (begin, end) = (line(RESULT_BEGIN), line(RESULT_END));
        let largest = line(&"x".repeat(RESULT_LIMIT));
        let log = |text: &str| {
            [
                (false, begin.clone()),
                (false, text.to_owned()),
                (false, end.clone()),
            ]
        };
        let run = async |text: &str| {
            let log = log(text);
            let log: Vec<_> = log
                .iter()
                .map(|(stderr, text)| (*stderr, text.as_str()))
                .collect();
            result_of(&log).await.map(|found| found.len())
        };
        assert_eq!(run(&largest).await, Ok(RESULT_LIMIT));
        assert!(
            run(&format!("x{largest}"))
                .await
                .is_err_and(|why| why.contains("exceeds"))
        );
    }
}
