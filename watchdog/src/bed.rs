//! An orchestrator with two in-memory hosts for unit tests; only jobs started by a test run.

use chainpool_agent_memory::{MemoryPlatform, World, ledger};
use chainpool_api::{Fill, HostCreate, OperationState, Status};
use chainpool_health::HealthPolicy;
use chainpool_networks::Registry;
use chainpool_orchestrator::{Caller, Config, Orchestrator};
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;

/// A deadline that only a hang reaches.
const LONG: Duration = Duration::from_mins(2);

pub(crate) struct Bed {
    pub(crate) orchestrator: Orchestrator,
    /// The worlds of the hosts `h1` and `h2`.
    pub(crate) worlds: [Arc<World>; 2],
    admin: Caller,
    _folder: TempDir,
}

impl Bed {
    pub(crate) async fn start() -> Self {
        Self::start_with(HealthPolicy::default()).await
    }

    pub(crate) async fn start_with(health: HealthPolicy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let worlds = [World::new(), World::new()];
        let (platform, first) = MemoryPlatform::of(&worlds[0]);
        let second = platform.serve("second", &worlds[1]);
        let registry = Registry::default().with(ledger::TYPE, Arc::new(ledger::Ledger));
        let config = Config {
            registry,
            health,
            ..Config::new(folder.path().join("data"), vec![platform])
        };
        let orchestrator = Orchestrator::start(config).await.unwrap();
        let (admin, ..) = orchestrator.local_admin().await.unwrap();
        for (name, address) in [("h1", first), ("h2", second)] {
            let fill = Fill {
                network_type: ledger::TYPE.into(),
                preset: "single".into(),
                share: 1,
                parameters: serde_json::Map::new(),
            };
            let new = HostCreate {
                name: name.into(),
                address,
                bind: Some("127.0.0.1".into()),
                capacity: Some(1),
                disk_floor: Some(0),
                fill: Some(vec![fill]),
                ..HostCreate::default()
            };
            orchestrator.host_create(&admin, new).await.unwrap();
        }
        Self {
            orchestrator,
            worlds,
            admin,
            _folder: folder,
        }
    }

    pub(crate) async fn status(&self) -> Status {
        self.orchestrator.status(&self.admin).await.unwrap()
    }

    /// The crashed parts of the watchdog in the status.
    pub(crate) async fn crashes(&self) -> Vec<String> {
        self.status()
            .await
            .problems
            .into_iter()
            .filter(|problem| problem.contains("crashed"))
            .collect()
    }

    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let waits = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LONG, waits)
            .await
            .unwrap_or_else(|_| panic!("{what}: not within {LONG:?}"));
    }

    /// Fills a host and returns the name of its cluster.
    pub(crate) async fn filled(&self, host: &str) -> String {
        let fillup = self.orchestrator.host_fillup(&self.admin, host).await.unwrap();
        let state = async || {
            self.orchestrator
                .operation_show(&self.admin, fillup.id)
                .await
                .unwrap()
                .state
        };
        self.until("the fillup", async || state().await.is_over()).await;
        assert_eq!(state().await, OperationState::Succeeded);
        self.orchestrator
            .host_preview(&self.admin, host)
            .await
            .unwrap()
            .clusters
            .remove(0)
            .name
    }
}
