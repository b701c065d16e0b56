//! Platforms that hosts run.

use crate::UnknownValue;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::openapi::{
    ObjectBuilder, RefOr,
    schema::{Schema, Type},
};

/// Maximum length of the name.
const LENGTH: usize = 20;

/// Platform of a host: the name of its kind, such as `docker`, `swarm` or `kubernetes`. The server's agents
/// determine which are available.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform(String);

impl Platform {
    /// Name of the kind.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Platform {
    type Err = UnknownValue;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=LENGTH).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        fits.then(|| Self(text.to_owned())).ok_or_else(|| UnknownValue {
            value: text.chars().take(2 * LENGTH).collect(),
            allowed: "docker, swarm, kubernetes, or another available platform".to_owned(),
        })
    }
}

impl TryFrom<String> for Platform {
    type Error = UnknownValue;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.0
    }
}

impl utoipa::PartialSchema for Platform {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(format!("^[a-z][a-z0-9-]{{0,{}}}$", LENGTH - 1)))
            .examples(["docker", "swarm", "kubernetes"])
            .description(Some(
                "Platform of a host: `docker` (one Docker engine), `swarm` (a Docker Swarm), `kubernetes` (a Kubernetes cluster), or any other platform with an agent on the server.",
            ))
            .into()
    }
}

impl utoipa::ToSchema for Platform {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_a_short_plain_name() {
        for name in [
            "docker",
            "swarm",
            "kubernetes",
            "memory",
            "a",
            "k3s-edge",
            "a2345678901234567890",
        ] {
            let platform: Platform = name.parse().unwrap();
            assert_eq!((platform.as_str(), platform.to_string().as_str()), (name, name));
            let json = serde_json::to_string(&platform).unwrap();
            assert_eq!(json, format!("{name:?}"));
            assert_eq!(serde_json::from_str::<Platform>(&json).unwrap(), platform);
        }
        for name in [
            "",
            "Docker",
            "2",
            "-a",
            "a b",
            "a_b",
            "docker\n",
            "a23456789012345678901",
        ] {
            let error = name.parse::<Platform>().unwrap_err().to_string();
            assert!(error.contains("use one of: docker, swarm, kubernetes"), "{error}");
            assert!(serde_json::from_str::<Platform>(&serde_json::to_string(name).unwrap()).is_err());
        }
    }
}
