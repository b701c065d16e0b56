//! A host's sealed secrets. Each is for one server and is sent to no other.

use crate::{Error, Orchestrator, Result};
use chainpool_agent::{RegistryLogin, Secret, Tls};
use chainpool_api::{
    self as api,
    host_text::{self, shortened},
};
use chainpool_store::{HostRow, HostSecrets};
use std::collections::BTreeMap;

/// The maximum lengths of a password, a certificate or key, and a kubeconfig, in bytes.
const PASSWORD: usize = 4 * 1024;
const PEM: usize = 64 * 1024;
const KUBECONFIG: usize = 512 * 1024;

impl Orchestrator {
    /// Seals the secrets of a change. A sealed secret is sent only to the server that it was given for: a
    /// change that would send it elsewhere must provide it again.
    pub(super) fn change_secrets(
        &self,
        before: &HostRow,
        row: &mut HostRow,
        change: &api::HostUpdate,
    ) -> Result<()> {
        let mut known = HostSecrets::open(self.store().master(), before)?;
        let mirror = row.settings.0.mirror.as_deref();
        let given = secrets(
            change.tls.clone(),
            change.registry.clone(),
            change.kubeconfig.clone(),
            mirror,
        )?;
        check_secrets_stay(&known, before, row, change)?;
        // A local socket needs no certificates; stored ones would be refused there.
        let to_socket = change
            .address
            .as_ref()
            .is_some_and(|address| address.starts_with("unix://"));
        if change.tls.is_some() || change.registry.is_some() || change.kubeconfig.is_some() || to_socket {
            known.tls = given.tls.or(known.tls.filter(|_| !to_socket));
            if change.registry.is_some() {
                known.registry = given.registry;
            }
            known.kubeconfig = given.kubeconfig.or(known.kubeconfig);
            row.sealed = Some(known.seal(self.store().master(), row.id)?);
        }
        Ok(())
    }
}

/// Refuses a change that would send a sealed secret to another server.
fn check_secrets_stay(
    known: &HostSecrets,
    before: &HostRow,
    after: &HostRow,
    change: &api::HostUpdate,
) -> Result<()> {
    let (was, is) = (&before.settings.0, &after.settings.0);
    let mut changes = Vec::new();
    if before.address != after.address {
        changes.push("address");
    }
    if is.insecure && !was.insecure {
        changes.push("insecure");
    }
    let mut wrong = BTreeMap::new();
    if known.kubeconfig.is_some() && change.kubeconfig.is_none() && !changes.is_empty() {
        let why = format!(
            "the stored kubeconfig is for the server at {}, but {} would change; provide it again",
            before.address,
            changes.join(" and ")
        );
        wrong.insert("kubeconfig".to_owned(), why);
    }
    changes.extend(
        [
            ("tls", change.tls.is_some()),
            ("kubeconfig", change.kubeconfig.is_some()),
        ]
        .iter()
        .filter(|(_, given)| *given)
        .map(|(f, _)| *f),
    );
    let registry = |mirror: &Option<String>| {
        mirror
            .as_deref()
            .and_then(|m| host_text::registry_of_mirror(m).ok().map(str::to_ascii_lowercase))
    };
    if registry(&was.mirror) != registry(&is.mirror) {
        changes.push("mirror");
    }
    if let Some(login) = known
        .registry
        .as_ref()
        .filter(|_| change.registry.is_none() && !changes.is_empty())
    {
        let why = format!(
            "the stored credentials are for {} through {}, but {} would change; provide them again, or an empty user to remove them",
            login.address,
            before.address,
            changes.join(" and ")
        );
        wrong.insert("registry".to_owned(), why);
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::fields(wrong))
    }
}

/// Reads the secrets of a request. A login is for one registry, by default that of the mirror.
pub(super) fn secrets(
    tls: Option<api::HostTls>,
    registry: Option<api::HostRegistry>,
    kubeconfig: Option<String>,
    mirror: Option<&str>,
) -> Result<HostSecrets> {
    let too_long =
        |field: &str, limit: usize| Err(Error::field(field, format!("it is longer than {limit} bytes")));
    if tls
        .iter()
        .any(|tls| [&tls.ca, &tls.cert, &tls.key].iter().any(|pem| pem.len() > PEM))
    {
        return too_long("tls", PEM);
    }
    if kubeconfig.as_ref().is_some_and(|text| text.len() > KUBECONFIG) {
        return too_long("kubeconfig", KUBECONFIG);
    }
    Ok(HostSecrets {
        tls: tls.map(|api::HostTls { ca, cert, key }| Tls {
            ca,
            cert,
            key: Secret::new(key),
        }),
        registry: registry
            .filter(|login| !login.user.is_empty())
            .map(|login| read_login(login, mirror))
            .transpose()?,
        kubeconfig: kubeconfig.map(Secret::new),
    })
}

fn read_login(login: api::HostRegistry, mirror: Option<&str>) -> Result<RegistryLogin> {
    let api::HostRegistry {
        address,
        user,
        password,
    } = login;
    if user.len() > 255 || user.contains(|c: char| c.is_control() || c == ':') {
        return Err(Error::field(
            "registry.user",
            "use at most 255 characters without colon and control characters",
        ));
    }
    if !(1..=PASSWORD).contains(&password.len()) || password.contains(char::is_control) {
        return Err(Error::field(
            "registry.password",
            format!("use 1 to {PASSWORD} bytes without control characters"),
        ));
    }
    let address = address.filter(|address| !address.is_empty());
    if let Some(address) = &address {
        host_text::check_registry(address)
            .map_err(|why| Error::field("registry.address", format!("{:?} {why}", shortened(address))))?;
    }
    let of_mirror = || {
        mirror
            .and_then(|mirror| host_text::registry_of_mirror(mirror).ok())
            .map(str::to_owned)
    };
    let address = address.or_else(of_mirror).ok_or_else(|| {
        Error::field(
            "registry.address",
            "set the registry of the credentials, such as registry.example:5000 or docker.io",
        )
    })?;
    Ok(RegistryLogin {
        address,
        user,
        password: Secret::new(password),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facade::host::fixture::row;

    fn login(address: Option<&str>) -> api::HostRegistry {
        api::HostRegistry {
            address: address.map(str::to_owned),
            user: "robot".into(),
            password: "pw".into(),
        }
    }

    fn wrong<T: std::fmt::Debug>(outcome: Result<T>) -> Vec<String> {
        match outcome.expect_err("refused") {
            Error::Invalid(problem) => problem.fields.into_keys().collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_login_is_for_its_registry_or_that_of_the_mirror() {
        let address = |given, mirror| {
            secrets(None, Some(login(given)), None, mirror).map(|s| s.registry.expect("a login").address)
        };
        assert_eq!(
            address(Some("r.example"), Some("m.example:5000/x")).expect("given"),
            "r.example"
        );
        assert_eq!(
            address(None, Some("m.example:5000/x")).expect("the mirror's"),
            "m.example:5000"
        );
        assert_eq!(wrong(address(None, None)), ["registry.address"]);
        assert_eq!(
            wrong(address(Some("https://r.example"), None)),
            ["registry.address"]
        );
        let removed = api::HostRegistry {
            address: None,
            user: String::new(),
            password: String::new(),
        };
        assert_eq!(
            secrets(None, Some(removed), None, None)
                .expect("removed")
                .registry,
            None
        );
    }

    #[test]
    fn secrets_are_bounded() {
        let with = |password: String| {
            secrets(
                None,
                Some(api::HostRegistry {
                    password,
                    ..login(Some("docker.io"))
                }),
                None,
                None,
            )
        };
        assert!(with("x".repeat(PASSWORD)).is_ok());
        assert_eq!(wrong(with("x".repeat(PASSWORD + 1))), ["registry.password"]);
        assert_eq!(wrong(with("a\nb".into())), ["registry.password"]);
        assert_eq!(
            wrong(secrets(None, None, Some("x".repeat(KUBECONFIG + 1)), None)),
            ["kubeconfig"]
        );
        let tls = api::HostTls {
            ca: "x".repeat(PEM + 1),
            cert: String::new(),
            key: String::new(),
        };
        assert_eq!(wrong(secrets(Some(tls), None, None, None)), ["tls"]);
    }

    type Change = fn(&mut HostRow, &mut api::HostUpdate);

    /// An operator may change the address and mirror of a host but must not learn secrets stored by an
    /// administrator.
    #[test]
    fn sealed_secrets_are_sent_to_no_other_server() {
        let sealed = secrets(
            None,
            Some(login(None)),
            Some("a kubeconfig".into()),
            Some("registry.good.example"),
        )
        .expect("secrets");
        let outcome = |change: Change, again: bool| {
            let (before, mut after, mut update) = (row(), row(), api::HostUpdate::default());
            change(&mut after, &mut update);
            if again {
                update.registry.get_or_insert_with(|| login(Some("r.example")));
                update.kubeconfig.get_or_insert_with(|| "another".to_owned());
            }
            check_secrets_stay(&sealed, &before, &after, &update)
        };
        let cases: [(Change, &[&str]); 6] = [
            (
                |row, _| row.address = "https://127.0.0.1:8342".into(),
                &["kubeconfig", "registry"],
            ),
            (
                |row, _| row.settings.0.insecure = true,
                &["kubeconfig", "registry"],
            ),
            (
                |row, _| row.settings.0.mirror = Some("127.0.0.1:8390".into()),
                &["registry"],
            ),
            (|row, _| row.settings.0.mirror = None, &["registry"]),
            (
                |_, update| update.kubeconfig = Some("another".into()),
                &["registry"],
            ),
            (
                |_, update| {
                    update.tls = Some(api::HostTls {
                        ca: "c".into(),
                        cert: "c".into(),
                        key: "k".into(),
                    });
                },
                &["registry"],
            ),
        ];
        for (change, fields) in cases {
            assert_eq!(wrong(outcome(change, false)), fields);
            assert!(outcome(change, true).is_ok(), "{fields:?}");
        }
        let harmless: [Change; 3] = [
            |_, _| {},
            |row, _| row.settings.0.mirror = Some("Registry.good.example/team/".into()),
            |row, _| {
                row.settings.0.images = BTreeMap::from([("cometbft".to_owned(), vec!["x/y:1".to_owned()])]);
            },
        ];
        for change in harmless {
            assert!(outcome(change, false).is_ok());
        }
    }
}
