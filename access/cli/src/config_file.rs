//! The server's configuration file.

use crate::exit::{Exit, Failure, Result};
use chainpool_health::HealthPolicy;
use serde::Deserialize;
use std::{
    fmt, fs, io,
    ops::Range,
    path::{Path, PathBuf},
};
use toml::de::{DeTable, DeValue};

/// Name of the configuration file in the data folder.
pub(crate) const NAME: &str = "chainpool.toml";

/// Content of the configuration file. Flags and environment variables configure everything else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ConfigFile {
    /// Timing rules of health assessment and repair.
    pub(crate) health: HealthPolicy,
}

/// An invalid configuration file.
#[derive(Debug, PartialEq, Eq)]
struct Invalid {
    /// Line, if it is known.
    line: Option<usize>,
    /// Key, empty for the whole file.
    key: String,
    /// Problem and remedy.
    why: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.why)
    }
}

impl ConfigFile {
    /// Reads the given file, or the file in the data folder if it exists.
    pub(crate) fn load(given: Option<&Path>, folder: &Path) -> Result<Self> {
        let path = given.map_or_else(|| folder.join(NAME), PathBuf::from);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if given.is_none() && error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(Failure::new(
                    Exit::Usage,
                    format!(
                        "cannot read the configuration file {}: {error}; correct --config, or make the file readable for the server's user",
                        path.display()
                    ),
                ));
            }
        };
        Self::parse(&text).map_err(|invalid| {
            Failure::new(
                Exit::Usage,
                format!(
                    "invalid configuration file {}, {invalid}\n`chainpool serve --print-config` prints a file with all settings",
                    path.display()
                ),
            )
        })
    }

    /// Parses and validates a configuration file.
    fn parse(text: &str) -> std::result::Result<Self, Invalid> {
        let invalid = |key: String, error: &toml::de::Error| Invalid {
            line: error.span().map(|span| line(text, &span)),
            key,
            why: error.message().to_owned(),
        };
        let input = toml::Deserializer::parse(text).map_err(|error| invalid(String::new(), &error))?;
        let file: Self = serde_path_to_error::deserialize(input)
            .map_err(|error| invalid(key(error.path()), error.inner()))?;
        file.health.validate().map_err(|error| Invalid {
            line: line_of(text, &error.key),
            key: error.key,
            why: error.why,
        })?;
        Ok(file)
    }

    /// The content of a configuration file with every setting, its description and its value.
    pub(crate) fn to_toml(&self) -> String {
        let Self { health } = self;
        format!(
            "# Configuration of `chainpool serve`: every setting with its default.\n\
             # Keep only the settings that you change.\n{}",
            health.to_toml()
        )
    }
}

/// A path in the file as a key; empty for the whole file.
fn key(path: &serde_path_to_error::Path) -> String {
    match path.to_string() {
        root if root == "." => String::new(),
        key => key,
    }
}

/// Number of the line at which this part of the text begins.
fn line(text: &str, span: &Range<usize>) -> usize {
    1 + text.get(..span.start).unwrap_or_default().matches('\n').count()
}

/// Line of a key, or of the nearest table around it that the file has.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let root = DeTable::parse(text).ok()?.into_inner();
    let (mut table, mut found) = (&root, None);
    for name in key.split('.') {
        let Some((name, value)) = table.get_key_value(name) else {
            break;
        };
        found = Some(line(text, &name.span()));
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, time::Duration};

    fn error(text: &str) -> String {
        ConfigFile::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_file_changes_the_settings_that_it_names() {
        assert_eq!(ConfigFile::parse(""), Ok(ConfigFile::default()));
        let file = ConfigFile::parse("[health.repair]\nbroken_confirm = \"2500ms\"\n").unwrap();
        assert_eq!(file.health.repair.broken_confirm, Duration::from_millis(2_500));
        let mut expected = HealthPolicy::default();
        expected.repair.broken_confirm = Duration::from_millis(2_500);
        assert_eq!(file.health, expected);
    }

    #[test]
    fn errors_name_line_key_and_remedy() {
        let unknown = error("[health.repair]\n\nconfirm = \"2s\"\n");
        assert!(
            unknown.starts_with(
                "line 3: health.repair.confirm: unknown field `confirm`, expected one of `broken_confirm`"
            ),
            "{unknown}"
        );
        let table = error("\n[server]\n");
        assert!(
            table.starts_with("line 2: server: unknown field `server`, expected `health`"),
            "{table}"
        );
        assert_eq!(
            error("[health]\nrepair.broken_confirm = 2\n"),
            "line 2: health.repair.broken_confirm: invalid type: integer `2`, expected a duration in quotes, such as \"500ms\", \"2s\" or \"5m\""
        );
        assert_eq!(
            error("[health.repair]\nbroken_confirm = \"soon\"\n"),
            "line 2: health.repair.broken_confirm: \"soon\" is not a duration; write a number with its unit, such as \"500ms\", \"2s\" or \"5m\""
        );
        let syntax = error("[health]\nrepair = \n");
        assert!(syntax.starts_with("line 2: "), "{syntax}");
        let contradiction = error("[health.repair]\nbackoff.initial = \"10m\"\n");
        assert!(
            contradiction.starts_with(
                "line 2: health.repair.backoff.max: 5m is less than health.repair.backoff.initial"
            ),
            "{contradiction}"
        );
        let zero = error("\n[health.host]\nsettle = \"0s\"\n");
        assert!(
            zero.starts_with("line 3: health.host.settle: must be 1ms at least"),
            "{zero}"
        );
    }

    #[test]
    fn only_a_named_file_must_exist() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join("named.toml");
        assert_eq!(
            ConfigFile::load(None, folder.path()).unwrap(),
            ConfigFile::default()
        );
        let missing = ConfigFile::load(Some(&named), folder.path()).unwrap_err();
        assert_eq!(missing.exit, Exit::Usage);
        assert!(
            missing.message.contains("named.toml") && missing.message.contains("correct --config"),
            "{missing}"
        );
        for (path, limit) in [(folder.path().join(NAME), 7), (named.clone(), 8)] {
            fs::write(path, format!("health.crash_loop.max_exits = {limit}")).unwrap();
        }
        let exits = |given| {
            ConfigFile::load(given, folder.path())
                .unwrap()
                .health
                .crash_loop
                .max_exits
        };
        assert_eq!((exits(None), exits(Some(&named))), (7, 8));
        fs::write(&named, "health = 1").unwrap();
        let invalid = ConfigFile::load(Some(&named), folder.path()).unwrap_err();
        assert_eq!(invalid.exit, Exit::Usage);
        assert!(
            invalid
                .message
                .contains("named.toml, line 1: health: invalid type")
                && invalid.message.contains("--print-config"),
            "{invalid}"
        );
    }

    /// `CHAINPOOL_DOCUMENTS=write` rewrites the sample.
    #[test]
    fn the_sample_in_the_documentation_has_every_setting_with_its_default() {
        let sample = ConfigFile::default().to_toml();
        assert_eq!(ConfigFile::parse(&sample), Ok(ConfigFile::default()));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/chainpool.toml");
        if env::var_os("CHAINPOOL_DOCUMENTS").is_some_and(|value| value == "write") {
            fs::write(path, &sample).unwrap();
        } else {
            assert!(
                fs::read_to_string(path).unwrap_or_default() == sample,
                "docs/chainpool.toml is outdated; run this test with CHAINPOOL_DOCUMENTS=write and review the change"
            );
        }
    }
}
