//! Confirmation prompts before destructive actions.

use crate::{
    args::YesArgs,
    exit::{Exit, Failure, Result},
};
use std::io::{self, IsTerminal, Write};

/// Asks for confirmation. Without a terminal it requires `--yes`.
pub(crate) async fn ask(yes: &YesArgs, what: &str) -> Result<()> {
    if yes.yes {
        return Ok(());
    }
    if !on_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{what} This cannot be undone. No terminal for a confirmation: add --yes"),
        ));
    }
    let answer = read(format!("{what} This cannot be undone. Continue? [y/N] ")).await?;
    match answer.to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Usage, "cancelled")),
    }
}

/// Asks for a name.
pub(crate) async fn ask_name(what: &str, option: &str) -> Result<String> {
    if !on_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{what} No terminal for a confirmation: add {option}"),
        ));
    }
    read(format!("{what} Type its name: ")).await
}

fn on_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Reads a line on a separate thread, which allows an interrupt meanwhile.
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
        .map_err(|error| Failure::new(Exit::Usage, format!("cannot read the answer: {error}")))
}
