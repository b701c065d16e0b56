//! Text for POSIX shells.

/// Quotes a text as one shell word: the shell expands and runs nothing in it.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A file of variables for the shell's `.` command.
pub(crate) fn exports<const N: usize>(variables: [(&str, Exported); N]) -> String {
    let line = |(variable, value)| match value {
        Exported::Text(text) => format!("export {variable}={}\n", quoted(&text)),
        Exported::Here(path) => format!("export {variable}=\"$PWD\"/{}\n", quoted(&path)),
    };
    variables.map(line).concat()
}

/// The value of a variable.
pub(crate) enum Exported {
    /// A literal text.
    Text(String),
    /// A path relative to the folder in which the file is read.
    Here(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_shell_reads_back_the_quoted_text() {
        for text in [
            "",
            "192.0.2.7:20000",
            "$(id>pwn)",
            "`id`",
            "'; id; '",
            "a\nb",
            "\"$HOME\"",
            r"\'",
            "!x #y ~ *",
        ] {
            let shell = Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(text))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(shell.stdout).unwrap(), text);
        }
    }
}
