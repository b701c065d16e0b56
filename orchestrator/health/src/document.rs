//! The policy as text: the table of a configuration file, and the table of the documentation.

use crate::{HealthPolicy, TABLE, Value, duration};
use std::fmt::Write as _;

/// Maximum width of a comment in a configuration file.
const WIDTH: usize = 100;

impl HealthPolicy {
    /// The policy as tables of a configuration file, with each setting's description as a comment.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut open = String::new();
        for setting in self.settings() {
            let (group, name) = setting.key.rsplit_once('.').unwrap_or(("", &setting.key));
            let value = match setting.value {
                Value::Group => {
                    open.clone_from(&setting.key);
                    text.push('\n');
                    comment(&mut text, &setting.description);
                    let _infallible = writeln!(text, "[{TABLE}.{}]", setting.key);
                    continue;
                }
                Value::Duration(duration) => format!("\"{}\"", duration::file_text(duration)),
                Value::Count(count) => count.to_string(),
            };
            assert_eq!(open, group, "a group's own settings precede the groups in it");
            comment(&mut text, &setting.description);
            let _infallible = writeln!(text, "{name} = {value}");
        }
        text
    }

    /// The policy as a table in Markdown.
    pub fn to_markdown(&self) -> String {
        let mut text = "| key | value | meaning |\n|---|---|---|\n".to_owned();
        for setting in self.settings() {
            let value = match setting.value {
                Value::Group => continue,
                Value::Duration(duration) => duration::text(duration),
                Value::Count(count) => count.to_string(),
            };
            let _infallible = writeln!(
                text,
                "| `{TABLE}.{}` | {value} | {} |",
                setting.key, setting.description
            );
        }
        text
    }
}

/// Writes a comment, wrapped at spaces.
fn comment(text: &mut String, description: &str) {
    let mut line = "#".to_owned();
    for word in description.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::{env, fs};

    #[derive(Deserialize)]
    struct File {
        health: HealthPolicy,
    }

    #[test]
    fn the_configuration_file_of_a_policy_is_read_as_that_policy() {
        for policy in [HealthPolicy::default(), HealthPolicy::default().scaled(1.25)] {
            let text = policy.to_toml();
            let file: File = toml::from_str(&text).unwrap();
            assert_eq!(file.health, policy, "{text}");
            assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        }
    }

    /// `CHAINPOOL_DOCUMENTS=write` rewrites the table.
    #[test]
    fn the_documentation_has_the_table_of_the_defaults() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/health.md");
        let page = fs::read_to_string(path).unwrap();
        let (begin, end) = ("<!-- health policy: begin -->\n", "<!-- health policy: end -->");
        let (before, rest) = page.split_once(begin).unwrap();
        let (_, after) = rest.split_once(end).unwrap();
        let table = HealthPolicy::default().to_markdown();
        let expected = format!("{before}{begin}\n{table}\n{end}{after}");
        if env::var_os("CHAINPOOL_DOCUMENTS").is_some_and(|value| value == "write") {
            fs::write(path, &expected).unwrap();
        } else {
            assert!(
                page == expected,
                "docs/health.md is outdated; run this test with CHAINPOOL_DOCUMENTS=write and review the change"
            );
        }
    }
}
