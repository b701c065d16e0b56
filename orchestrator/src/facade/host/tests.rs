use super::*;
use crate::{Config, facade::host::fixture, runtime::idle_platform::IdlePlatform};
use chainpool_agent::{PlatformKind, Secret};
use std::sync::Arc;
use tempfile::TempDir;

/// An orchestrator with a Kubernetes cluster as host `h1`, whose engine is `e`.
struct Bed {
    orchestrator: Orchestrator,
    admin: Caller,
    platform: IdlePlatform,
    _folder: TempDir,
}

impl Bed {
    /// Starts with or without a stored kubeconfig.
    async fn start(kubeconfig: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let platform = IdlePlatform::of(PlatformKind::new("kubernetes"));
        let config = Config {
            run_operations: false,
            ..Config::new(folder.path().to_owned(), vec![Arc::new(platform.clone())])
        };
        let orchestrator = Orchestrator::start(config).await.unwrap();
        let admin = orchestrator.local_admin().await.unwrap().0;
        let mut row = fixture::row();
        if let Some(text) = kubeconfig {
            let secrets = HostSecrets {
                kubeconfig: Some(Secret::new(text.to_owned())),
                ..HostSecrets::default()
            };
            row.sealed = Some(secrets.seal(orchestrator.store().master(), row.id).unwrap());
        }
        let mut tx = orchestrator.store().begin().await.unwrap();
        tx.host_insert(row).await.unwrap();
        tx.commit("test").await.unwrap();
        Self {
            orchestrator,
            admin,
            platform,
            _folder: folder,
        }
    }

    /// Reads the stored host.
    async fn stored(&self) -> HostRow {
        self.orchestrator.host_row("h1").await.unwrap()
    }

    async fn update(&self, change: &api::HostUpdate) -> Result<api::Host> {
        self.orchestrator
            .host_update(&self.admin, "h1", change.clone())
            .await
    }
}

fn fields(outcome: Result<api::Host>) -> Vec<String> {
    outcome
        .expect_err("refused")
        .problem()
        .fields
        .into_keys()
        .collect()
}

fn kubeconfig(text: &str) -> api::HostUpdate {
    api::HostUpdate {
        kubeconfig: Some(text.to_owned()),
        ..api::HostUpdate::default()
    }
}

fn insecure(insecure: bool) -> api::HostUpdate {
    api::HostUpdate {
        insecure: Some(insecure),
        ..api::HostUpdate::default()
    }
}

fn address(address: &str) -> api::HostUpdate {
    api::HostUpdate {
        address: Some(address.to_owned()),
        ..api::HostUpdate::default()
    }
}

#[tokio::test]
async fn an_update_of_a_host_that_changed_meanwhile_is_tried_again() {
    let bed = Bed::start(None).await;
    let read = bed.stored().await;
    let grown = api::HostUpdate {
        capacity: Some(7),
        ..api::HostUpdate::default()
    };
    bed.update(&grown).await.unwrap();
    let filled = api::HostUpdate {
        autofill: Some(true),
        ..api::HostUpdate::default()
    };
    let overtaken = bed
        .orchestrator
        .host_change(&bed.admin, read, &filled)
        .await
        .unwrap();
    assert!(overtaken.is_none());
    assert!(!bed.stored().await.settings.0.autofill, "nothing is stored");
    bed.update(&filled).await.unwrap();
    let stored = bed.stored().await.settings.0;
    assert_eq!((stored.capacity, stored.autofill), (7, true));
}

/// Without a probe, a wrong connection would make the host unreachable, and another engine would be searched
/// for its clusters.
#[tokio::test]
async fn a_changed_connection_is_probed_before_it_is_stored() {
    let bed = Bed::start(None).await;
    let tls = api::HostTls {
        ca: "c".into(),
        cert: "c".into(),
        key: "k".into(),
    };
    let changes = [
        address("https://other.example:6443"),
        insecure(true),
        insecure(false),
        api::HostUpdate {
            tls: Some(tls),
            ..api::HostUpdate::default()
        },
        kubeconfig("one"),
        kubeconfig("another"),
    ];
    for change in changes {
        let before = bed.stored().await;
        bed.platform.answer(None);
        assert_eq!(
            bed.update(&change).await.unwrap_err().status(),
            503,
            "{change:?}: no engine responds"
        );
        bed.platform.answer(Some("other"));
        assert_eq!(
            fields(bed.update(&change).await),
            ["address"],
            "{change:?}: another engine responds"
        );
        assert_eq!(bed.stored().await, before, "{change:?} was refused but stored");
        assert_eq!(bed.platform.probed().len(), 2, "{change:?}");

        bed.platform.answer(Some("e"));
        bed.update(&change).await.unwrap();
        let probed = bed.platform.probed();
        assert_eq!(probed.len(), 1, "{change:?}");
        let stored = bed.stored().await;
        let secrets = HostSecrets::open(bed.orchestrator.store().master(), &stored).unwrap();
        assert_eq!(
            (&probed[0].address, probed[0].insecure),
            (&stored.address, stored.settings.0.insecure),
            "{change:?}"
        );
        assert_eq!(
            (&probed[0].kubeconfig, probed[0].tls.is_some()),
            (&secrets.kubeconfig, secrets.tls.is_some()),
            "{change:?}"
        );
        if let Some(given) = &change.kubeconfig {
            assert_eq!(
                secrets.kubeconfig.map(|text| text.expose().clone()).as_ref(),
                Some(given)
            );
        }
    }
    bed.update(&api::HostUpdate {
        capacity: Some(7),
        ..api::HostUpdate::default()
    })
    .await
    .unwrap();
    assert!(bed.platform.probed().is_empty(), "the connection is unchanged");
}

/// A caller that may change a host must not get its kubeconfig sent to another server.
#[tokio::test]
async fn a_stored_kubeconfig_must_be_given_again_for_another_server() {
    let bed = Bed::start(Some("stored")).await;
    bed.platform.answer(Some("e"));
    let before = bed.stored().await;
    for change in [address("https://other.example:6443"), insecure(true)] {
        let refused = bed.update(&change).await;
        assert_eq!(
            refused.as_ref().map_err(Error::status).err(),
            Some(400),
            "{change:?}"
        );
        assert_eq!(fields(refused), ["kubeconfig"], "{change:?}");
        assert!(bed.platform.probed().is_empty(), "{change:?} was sent there");
        assert_eq!(bed.stored().await, before, "{change:?}");
    }
    bed.update(&insecure(false)).await.unwrap();
    bed.update(&address(&before.address)).await.unwrap();
    let known = bed.platform.probed();
    assert!(
        known.len() == 2
            && known
                .iter()
                .all(|change| change.kubeconfig == Some(Secret::new("stored".to_owned()))),
        "the server is unchanged"
    );

    for change in [address("https://other.example:6443"), insecure(true)] {
        bed.update(&api::HostUpdate {
            kubeconfig: Some("given again".to_owned()),
            ..change.clone()
        })
        .await
        .unwrap();
        let probed = bed.platform.probed();
        assert_eq!(
            probed[0].kubeconfig,
            Some(Secret::new("given again".to_owned())),
            "{change:?}"
        );
    }
}
