//! `chainpool-probe [--timeout SECONDS] http://HOST[:PORT][/PATH]|tcp://HOST:PORT`: 0 when the service answers, else 1 with
//! the reason on standard error. Engines reserve every other exit code of a health check, so a wrong argument is 1 too.

use std::process::ExitCode;
use std::time::Duration;

use chainpool_tools::probe::{Target, ask};

const USAGE: &str = "usage: chainpool-probe [--timeout SECONDS] http://HOST[:PORT][/PATH]|tcp://HOST:PORT";
const TIMEOUT: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match read(&arguments).and_then(|(target, limit)| ask(&target, limit)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("chainpool-probe: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn read(arguments: &[String]) -> Result<(Target, Duration), String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [target] if !target.starts_with('-') => Ok((target.parse()?, TIMEOUT)),
        ["--timeout", seconds, target] => {
            let seconds = seconds
                .parse::<u16>()
                .ok()
                .filter(|seconds| *seconds > 0)
                .ok_or_else(|| format!("{seconds}: give whole seconds, 1 to 65535"))?;
            Ok((target.parse()?, Duration::from_secs(seconds.into())))
        }
        _ => Err(USAGE.into()),
    }
}
