//! Questions before what cannot be undone.

use crate::{
    args::YesArgs,
    exit::{Exit, Failure, Result},
};
use std::io::{self, IsTerminal, Write};

/// Asks whether to go on. Without a terminal nobody can be asked: then `--yes` must have been given.
pub(crate) async fn ask(yes: &YesArgs, what: &str) -> Result<()> {
    if yes.yes {
        return Ok(());
    }
    if !on_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{what} This cannot be undone, and there is no terminal to ask on: add --yes"),
        ));
    }
    let answer = read(format!("{what} This cannot be undone. Go on? [y/N] ")).await?;
    match answer.to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Usage, "nothing was done")),
    }
}

/// Asks for a name to be typed.
pub(crate) async fn typed(what: &str, option: &str) -> Result<String> {
    if !on_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{what} There is no terminal to ask on: add {option}"),
        ));
    }
    read(format!("{what} Type its name: ")).await
}

fn on_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Reads a line on a thread of its own, so that an interrupt ends the command meanwhile.
async fn read(prompt: String) -> Result<String> {
    let read = tokio::task::spawn_blocking(move || {
        let mut errors = io::stderr().lock();
        write!(errors, "{prompt}").and_then(|()| errors.flush())?;
        drop(errors);
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        Ok::<_, io::Error>(line.trim().to_owned())
    });
    read.await
        .map_err(io::Error::other)
        .and_then(|read| read)
        .map_err(|error| Failure::new(Exit::Usage, format!("cannot read an answer: {error}")))
}
