//! `chainpool-probe [--timeout SECONDS] http://HOST[:PORT][/PATH]|tcp://HOST:PORT`: exits with 0 if the
//! service responds, else with 1 and the reason on standard error. Engines reserve all other exit codes of a
//! health check, so invalid arguments are 1 too.

use std::process::ExitCode;
use std::time::Duration;

use chainpool_tools::probe::{Target, check};

const USAGE: &str = "usage: chainpool-probe [--timeout SECONDS] http://HOST[:PORT][/PATH]|tcp://HOST:PORT";
const TIMEOUT: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match parse(&arguments).and_then(|(target, limit)| check(&target, limit)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("chainpool-probe: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Result<(Target, Duration), String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [target] if !target.starts_with('-') => Ok((target.parse()?, TIMEOUT)),
        ["--timeout", seconds, target] => {
            let seconds = seconds
                .parse::<u16>()
                .ok()
                .filter(|seconds| *seconds > 0)
                .ok_or_else(|| format!("{seconds}: use whole seconds from 1 to 65535"))?;
            Ok((target.parse()?, Duration::from_secs(seconds.into())))
        }
        _ => Err(USAGE.into()),
    }
}
