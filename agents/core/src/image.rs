//! Images: their names, and the rules by which every agent finds one.

use crate::{Error, Secret};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The default registry, and its aliases.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// Texts of engines and machines about an unreachable registry, as opposed to a missing image.
const REGISTRY_UNREACHABLE: [&str; 8] = [
    "connection refused",
    "no such host",
    "no route to host",
    "network is unreachable",
    "timeout",
    "request canceled",
    "unexpected HTTP status: 5",
    "no progress within",
];

/// A wanted image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRequest {
    /// Acceptable names, in order of preference.
    pub candidates: Vec<String>,
    /// How to get a missing one, for the error: completes "…: ADVICE, load one there, …".
    pub advice: Option<String>,
}

impl ImageRequest {
    /// A request without advice.
    pub fn of(candidates: &[String]) -> Self {
        Self {
            candidates: candidates.to_vec(),
            advice: None,
        }
    }

    /// The error if no candidate is available. `place` completes "none of the images is …"; each reason names
    /// its candidate. It is [`Error::Dependency`] if a registry is unreachable, else [`Error::Refused`].
    pub fn unavailable(&self, place: &str, reasons: &[String]) -> Error {
        if self.candidates.is_empty() {
            return Error::Refused("no image given: name at least one".to_owned());
        }
        let advice = self
            .advice
            .as_ref()
            .map_or_else(String::new, |advice| format!("{advice}, "));
        let text = format!(
            "none of the images is {place}, and none can be pulled ({}): {advice}load one there, push one to its registry, check the network, or set a mirror",
            reasons.join("; ")
        );
        let is_unreachable = |reason: &String| REGISTRY_UNREACHABLE.iter().any(|text| reason.contains(text));
        if reasons.iter().any(is_unreachable) {
            Error::Dependency(text)
        } else {
            Error::Refused(text)
        }
    }
}

/// An image name: `[registry/]repository[:tag][@digest]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageName<'a>(pub &'a str);

impl<'a> ImageName<'a> {
    /// Its registry, if it names one: the first part, if that has a dot or a port or is `localhost`.
    pub fn registry(self) -> Option<&'a str> {
        let (first, _) = self.0.split_once('/')?;
        (first.contains(['.', ':']) || first == "localhost").then_some(first)
    }

    /// The name without tag and digest.
    pub fn repository(self) -> &'a str {
        let name = self.0.split_once('@').map_or(self.0, |(name, _)| name);
        match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => name,
        }
    }

    /// The name with the default tag, if it has neither tag nor digest.
    pub fn tagged(self) -> Cow<'a, str> {
        if self.repository() == self.0 {
            format!("{}:latest", self.0).into()
        } else {
            self.0.into()
        }
    }

    /// The name with the default registry and tag, as machines list it.
    pub fn full(self) -> String {
        let name = self.tagged();
        match (self.registry(), name.contains('/')) {
            (Some(_), _) => name.into_owned(),
            (None, true) => format!("{}/{name}", DOCKER_HUB[0]),
            (None, false) => format!("{}/library/{name}", DOCKER_HUB[0]),
        }
    }
}

/// The source of a host's images: its mirror and its login.
#[derive(Debug, Clone, Default)]
pub struct ImageSource {
    mirror: Option<String>,
    login: Option<RegistryLogin>,
}

impl ImageSource {
    /// The source with this mirror (a prefix for names without a registry) and login.
    pub fn new(mirror: Option<String>, login: Option<RegistryLogin>) -> Self {
        Self { mirror, login }
    }

    /// The names under which a candidate may be present already, in order of preference: with a mirror also a
    /// bare name.
    pub fn present_names(&self, candidates: &[String]) -> Vec<String> {
        candidates
            .iter()
            .flat_map(|name| self.mirrored(name).into_iter().chain([name.clone()]))
            .collect()
    }

    /// The names to pull: with a mirror, a name without a registry is pulled only through it.
    pub fn pull_names(&self, candidates: &[String]) -> Vec<String> {
        candidates
            .iter()
            .map(|name| self.mirrored(name).unwrap_or_else(|| name.clone()))
            .collect()
    }

    /// The login for an image of this name, if it comes from the login's registry.
    pub fn login(&self, name: &str) -> Option<&RegistryLogin> {
        self.login.as_ref().filter(|login| login.is_for(name))
    }

    /// The name on the mirror; `None` without a mirror, or if the name has a registry.
    fn mirrored(&self, name: &str) -> Option<String> {
        let mirror = self.mirror.as_deref()?.trim_end_matches('/');
        let is_bare = ImageName(name).registry().is_none();
        is_bare.then(|| format!("{mirror}/{name}"))
    }
}

/// A login for one image registry, never sent to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryLogin {
    /// The registry as in image names: `host[:port]`, or `docker.io`.
    pub address: String,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret<String>,
}

impl RegistryLogin {
    /// Returns true if an image of this name comes from the login's registry.
    pub fn is_for(&self, image: &str) -> bool {
        let registry = ImageName(image).registry().unwrap_or(DOCKER_HUB[0]);
        registry.eq_ignore_ascii_case(&self.address)
            || (is_docker_hub(registry) && is_docker_hub(&self.address))
    }

    /// The registry's key in the credential files of engines and machines.
    pub fn server(&self) -> &str {
        if is_docker_hub(&self.address) {
            "https://index.docker.io/v1/"
        } else {
            &self.address
        }
    }
}

fn is_docker_hub(registry: &str) -> bool {
    DOCKER_HUB.iter().any(|name| name.eq_ignore_ascii_case(registry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(address: &str) -> RegistryLogin {
        RegistryLogin {
            address: address.into(),
            user: "u".into(),
            password: Secret::new("p".into()),
        }
    }

    fn source(mirror: Option<&str>) -> ImageSource {
        ImageSource::new(mirror.map(str::to_owned), Some(login("m.example:5000")))
    }

    #[test]
    fn image_names_are_parsed() {
        for (name, registry, repository, tagged, full) in [
            ("a", None, "a", "a:latest", "docker.io/library/a:latest"),
            ("a:1", None, "a", "a:1", "docker.io/library/a:1"),
            ("a/b:1", None, "a/b", "a/b:1", "docker.io/a/b:1"),
            ("h:5/a", Some("h:5"), "h:5/a", "h:5/a:latest", "h:5/a:latest"),
            ("h:5/a:1", Some("h:5"), "h:5/a", "h:5/a:1", "h:5/a:1"),
            (
                "a@sha256:0",
                None,
                "a",
                "a@sha256:0",
                "docker.io/library/a@sha256:0",
            ),
            (
                "localhost/x:1",
                Some("localhost"),
                "localhost/x",
                "localhost/x:1",
                "localhost/x:1",
            ),
        ] {
            let image = ImageName(name);
            assert_eq!(
                (
                    image.registry(),
                    image.repository(),
                    &*image.tagged(),
                    &*image.full()
                ),
                (registry, repository, tagged, full),
                "{name}"
            );
        }
    }

    #[test]
    fn a_mirror_serves_names_without_a_registry() {
        let candidates = ["cometbft/cometbft:v1", "ghcr.io/x/y:1", "localhost/x"].map(str::to_owned);
        let mirrored = "m.example:5000/cometbft/cometbft:v1";
        let source = source(Some("m.example:5000/"));
        assert_eq!(
            source.pull_names(&candidates),
            [mirrored, "ghcr.io/x/y:1", "localhost/x"]
        );
        // An image that is present under its bare name is accepted.
        assert_eq!(
            source.present_names(&candidates),
            [mirrored, "cometbft/cometbft:v1", "ghcr.io/x/y:1", "localhost/x"]
        );
        let direct = ImageSource::default();
        assert_eq!(direct.pull_names(&candidates), candidates);
        assert_eq!(direct.present_names(&candidates), candidates);
    }

    /// Holds for any mirror and image.
    #[test]
    fn a_login_is_sent_only_to_its_own_registry() {
        for mirror in [
            None,
            Some("m.example:5000"),
            Some("evil.example"),
            Some("127.0.0.1:8390"),
        ] {
            let source = source(mirror);
            let used = source.login("m.example:5000/a").expect("its own registry");
            assert_eq!(used.server(), "m.example:5000");
            for other in [
                "m.example:5000.evil.example/a",
                "ghcr.io/x/y:1",
                "evil.example/a",
                "127.0.0.1:8390/x/y:1",
                "a:1",
            ] {
                assert!(source.login(other).is_none(), "{mirror:?} {other}");
            }
        }
        assert!(ImageSource::default().login("m.example:5000/a").is_none());
    }

    #[test]
    fn a_login_applies_to_its_registry_only() {
        for (address, image, is_for) in [
            ("m.example:5000", "m.example:5000/a", true),
            ("m.example:5000", "M.example:5000/team/a:1", true),
            ("m.example:5000", "m.example:5000.evil.example/a", false),
            ("m.example:5000", "m.example/a", false),
            ("m.example", "evil.example/m.example/a", false),
            ("m.example", "a:1", false),
            ("docker.io", "cometbft/cometbft:v1", true),
            ("index.docker.io", "docker.io/library/a", true),
            ("docker.io", "ghcr.io/x/y:1", false),
            ("localhost", "localhost/x", true),
        ] {
            assert_eq!(login(address).is_for(image), is_for, "{address} {image}");
        }
        assert_eq!(
            (login("docker.io").server(), login("m.example").server()),
            ("https://index.docker.io/v1/", "m.example")
        );
    }

    #[test]
    fn the_error_of_a_missing_image_has_the_reasons_and_the_advice() {
        let request = |advice: Option<&str>| ImageRequest {
            candidates: vec!["a:1".into()],
            advice: advice.map(str::to_owned),
        };
        let reasons = ["a:1: denied".to_owned()];
        let text = |advice| request(advice).unavailable("on the engine", &reasons).to_string();
        assert_eq!(
            text(Some("build it with `b`")),
            "none of the images is on the engine, and none can be pulled (a:1: denied): build it with `b`, load one there, push one to its registry, check the network, or set a mirror"
        );
        assert!(
            text(None).contains("(a:1: denied): load one there"),
            "{}",
            text(None)
        );
        let nothing = ImageRequest::of(&[]).unavailable("on the engine", &[]);
        assert!(
            matches!(&nothing, Error::Refused(text) if text.starts_with("no image given")),
            "{nothing}"
        );
    }

    #[test]
    fn an_unreachable_registry_differs_from_a_missing_image() {
        let of = |reason: &str| {
            ImageRequest::of(&["a:1".into()]).unavailable("on the engine", &[format!("a:1: {reason}")])
        };
        assert!(matches!(of("manifest unknown"), Error::Refused(_)));
        for reason in [
            "Get https://r.example/v2/: dial tcp: lookup r.example: no such host",
            "failed to do request: Head \"https://127.0.0.1:9/v2/a/manifests/1\": dial tcp 127.0.0.1:9: connect: connection refused",
        ] {
            assert!(matches!(of(reason), Error::Dependency(_)), "{reason}");
        }
    }
}
