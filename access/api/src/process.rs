//! State of a node's process, as the platform reports it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{convert::Infallible, fmt, str::FromStr};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, schema::Type};

/// State of a node's process, as the platform reports it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ProcessState {
    /// Created, not started yet.
    Created,
    /// Running and, if it has a readiness check, ready.
    Running,
    /// Running, but its readiness check has not succeeded yet, or no longer does.
    Unready,
    /// Frozen.
    Paused,
    /// Exited with this code, or killed (137).
    Exited(i64),
    /// In transition, or running without something that it needs. The text names it.
    Changing(String),
    /// It does not exist.
    Absent,
    /// Not observed.
    #[default]
    Unknown,
}

impl ProcessState {
    /// `true` if the process has started and has not ended: it runs, is frozen, or restarts.
    pub fn has_started(&self) -> bool {
        match self {
            Self::Running | Self::Unready | Self::Paused => true,
            Self::Changing(how) => how == "restarting",
            Self::Created | Self::Exited(_) | Self::Absent | Self::Unknown => false,
        }
    }

    /// `true` if the process runs and is ready.
    pub fn is_running(&self) -> bool {
        *self == Self::Running
    }
}

impl fmt::Display for ProcessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.pad("created"),
            Self::Running => f.pad("running"),
            Self::Unready => f.pad("unready"),
            Self::Paused => f.pad("paused"),
            Self::Exited(code) => f.pad(&format!("exited {code}")),
            Self::Changing(how) => f.pad(how),
            Self::Absent => f.pad("absent"),
            Self::Unknown => f.pad("unknown"),
        }
    }
}

impl FromStr for ProcessState {
    type Err = Infallible;

    /// Reads a state; an unknown text is a transition.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "created" => Self::Created,
            "running" => Self::Running,
            "unready" => Self::Unready,
            "paused" => Self::Paused,
            "absent" => Self::Absent,
            "" | "unknown" => Self::Unknown,
            other => other
                .strip_prefix("exited ")
                .and_then(|code| code.parse().ok())
                .map_or_else(|| Self::Changing(other.to_owned()), Self::Exited),
        })
    }
}

impl Serialize for ProcessState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ProcessState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let Ok(state) = text.parse();
        Ok(state)
    }
}

impl utoipa::PartialSchema for ProcessState {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "State of a node's process, as the platform reports it: `created`, `running`, `unready` (it runs, but its readiness check does not succeed), `paused`, `exited 137`, `absent`, or the name of a transition.",
            ))
            .into()
    }
}

impl utoipa::ToSchema for ProcessState {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_written_as_its_text_and_read_back() {
        for (state, text) in [
            (ProcessState::Created, "created"),
            (ProcessState::Running, "running"),
            (ProcessState::Unready, "unready"),
            (ProcessState::Paused, "paused"),
            (ProcessState::Exited(137), "exited 137"),
            (ProcessState::Exited(-1), "exited -1"),
            (ProcessState::Changing("no network".to_owned()), "no network"),
            (ProcessState::Changing("exited oddly".to_owned()), "exited oddly"),
            (ProcessState::Absent, "absent"),
            (ProcessState::Unknown, "unknown"),
        ] {
            let json = serde_json::to_value(&state).unwrap();
            assert_eq!(json, text);
            assert_eq!(serde_json::from_value::<ProcessState>(json).unwrap(), state);
        }
    }
}
