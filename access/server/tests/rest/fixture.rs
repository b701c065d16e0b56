//! A pool in which two accounts hold one cluster each, with callers of all roles and relations to it.

use crate::app::App;
use chainpool_api::{
    ClusterState, HealthState, Lease, Operation, OperationState, Page, Role, Timestamp, Token,
};
use chainpool_orchestrator::Access;
use chainpool_server::ServeConfig;
use chainpool_store::{EnumColumn, Store};
use http::StatusCode;
use serde_json::json;
use std::{collections::BTreeMap, fs, path::Path};
use tempfile::TempDir;
use uuid::Uuid;

/// Texts visible only to holders of the clusters, operators and admins: names of accounts and clusters, and
/// the address of the host.
pub(crate) const SECRETS: [&str; 6] = ["annabel", "beryl", "topaz", "otto", "portal", "empty.sock"];

/// Relation of a caller to the requested resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    /// Not signed in.
    Anonymous,
    /// Another account's resource.
    Foreign,
    /// Its own resource.
    Own,
    Operator,
    Admin,
}

/// A caller, by the name of its token; `nobody` has no token.
pub(crate) type Actor = (&'static str, Relation);

/// Callers for the cluster that annabel holds.
const ACCOUNT_CALLERS: [Actor; 6] = [
    ("nobody", Relation::Anonymous),
    ("bob", Relation::Foreign),
    ("program of shop", Relation::Foreign),
    ("annabel", Relation::Own),
    ("otto", Relation::Operator),
    ("eve", Relation::Admin),
];

/// Callers for the cluster that portal's program holds for its customer dave; a local account has the same
/// name.
const CUSTOMER_CALLERS: [Actor; 5] = [
    ("dave", Relation::Foreign),
    ("annabel", Relation::Foreign),
    ("portal", Relation::Foreign),
    ("program of shop", Relation::Foreign),
    ("program of portal", Relation::Own),
];

/// Access rule of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    Public,
    /// Every signed-in caller, with its own resources: lists, session, new resources.
    SignedIn,
    /// Holder or operator; 404 for others.
    HolderOrOperator,
    /// Owner or admin; 404 for others, including operators.
    OwnerOrAdmin,
    /// An action for operators on a page visible to its holder, who gets 403.
    OperatorOfVisible,
    Operators,
    Admins,
}

impl Rule {
    /// The minimum role in the table of routes.
    pub(crate) fn access(self) -> Access {
        match self {
            Self::Public => Access::Anyone,
            Self::SignedIn | Self::HolderOrOperator | Self::OwnerOrAdmin | Self::OperatorOfVisible => {
                Access::AtLeast(Role::User)
            }
            Self::Operators => Access::AtLeast(Role::Operator),
            Self::Admins => Access::AtLeast(Role::Admin),
        }
    }

    /// Status of the expected rejection; `None`: allowed.
    pub(crate) fn rejection(self, relation: Relation) -> Option<u16> {
        match (self, relation) {
            (Self::Public, _) => None,
            (_, Relation::Anonymous) => Some(401),
            (_, Relation::Admin) | (Self::SignedIn, _) => None,
            (Self::Admins, _)
            | (Self::Operators, Relation::Own | Relation::Foreign)
            | (Self::OperatorOfVisible, Relation::Own) => Some(403),
            (Self::OwnerOrAdmin, Relation::Operator)
            | (Self::HolderOrOperator | Self::OwnerOrAdmin | Self::OperatorOfVisible, Relation::Foreign) => {
                Some(404)
            }
            (_, Relation::Operator) | (Self::HolderOrOperator | Self::OwnerOrAdmin, Relation::Own) => None,
        }
    }
}

/// A leased cluster with its resources.
pub(crate) struct LeasedCluster {
    cluster: Uuid,
    name: &'static str,
    lease: Uuid,
    /// An operation by otto during the lease.
    operation: Uuid,
    token: Uuid,
}

impl LeasedCluster {
    /// The path of a route, filled with this cluster, its lease, its operation and a token of its account.
    pub(crate) fn path(&self, path: &str) -> String {
        let parts = path.split('/').map(|part| match part {
            "{cluster}" => self.cluster.to_string(),
            "{lease}" => self.lease.to_string(),
            "{operation}" => self.operation.to_string(),
            "{token}" => self.token.to_string(),
            "{host}" => "h1".to_owned(),
            "{account}" => "zoe".to_owned(),
            "{node}" => "v0".to_owned(),
            part => {
                let part = part
                    .replace("%CLUSTER%", &self.cluster.to_string())
                    .replace("%LEASE%", &self.lease.to_string());
                part.replace("%OPERATION%", &self.operation.to_string())
            }
        });
        parts.collect::<Vec<_>>().join("/")
    }

    /// The cluster's name, for confirmation forms.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }
}

/// The pool, as a data folder that can be opened repeatedly.
pub(crate) struct Fixture {
    folder: TempDir,
    tokens: BTreeMap<&'static str, String>,
    own: LeasedCluster,
    customer: LeasedCluster,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let app = App::open(tempfile::tempdir().unwrap(), false, unlimited()).await;
        let mut tokens = BTreeMap::new();
        let users = ["annabel", "bob", "dave", "portal", "shop", "zoe"].map(|name| (name, Role::User));
        for (name, role) in users
            .into_iter()
            .chain([("otto", Role::Operator), ("eve", Role::Admin)])
        {
            tokens.insert(name, app.account(name, role).await);
        }
        for (name, account) in [("program of portal", "portal"), ("program of shop", "shop")] {
            tokens.insert(name, app.program(account).await);
        }
        app.host().await;
        for name in ["beryl", "topaz", "spare"] {
            let new = json!({ "name": name, "host": "h1", "preset": "single" });
            let _: Operation = app
                .post(&app.admin, "/api/v1/clusters", new)
                .await
                .read(StatusCode::ACCEPTED);
        }
        let folder = app.end().await;
        mark_ready(folder.path()).await;
        let app = App::open(folder, false, unlimited()).await;
        let own = lease(&app, &tokens, ("annabel", "beryl", "annabel"), json!({})).await;
        let customer = lease(
            &app,
            &tokens,
            ("program of portal", "topaz", "portal/dave"),
            json!({ "holder": "dave" }),
        )
        .await;
        let folder = app.end().await;
        mark_ready(folder.path()).await;
        Self {
            folder,
            tokens,
            own,
            customer,
        }
    }

    /// A server on a copy of the data folder, which runs no operations.
    pub(crate) async fn open(&self) -> App {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        App::open(copy, false, unlimited()).await
    }

    /// The token of a caller; `None` for `nobody`.
    pub(crate) fn token(&self, caller: &str) -> Option<&str> {
        self.tokens.get(caller).map(String::as_str)
    }

    /// The leased clusters with their callers, for this rule. Resources of an account are shared by its
    /// programs.
    pub(crate) fn subjects(&self, rule: Rule) -> Vec<(&LeasedCluster, &'static [Actor])> {
        let all: [(&LeasedCluster, &'static [Actor]); 2] =
            [(&self.own, &ACCOUNT_CALLERS), (&self.customer, &CUSTOMER_CALLERS)];
        all.into_iter()
            .take(if rule == Rule::OwnerOrAdmin { 1 } else { 2 })
            .collect()
    }
}

/// Leases the next cluster for a caller, and lets otto restart it.
async fn lease(
    app: &App,
    tokens: &BTreeMap<&str, String>,
    (caller, name, holder): (&str, &'static str, &str),
    apply: serde_json::Value,
) -> LeasedCluster {
    let lease: Lease = app
        .post(&tokens[caller], "/api/v1/leases", apply)
        .await
        .read(StatusCode::CREATED);
    assert_eq!((lease.cluster.as_str(), lease.holder.as_str()), (name, holder));
    let restarted = app
        .post(
            &tokens["otto"],
            &format!("/api/v1/clusters/{name}/restart"),
            json!({}),
        )
        .await;
    let operation: Operation = restarted.read(StatusCode::ACCEPTED);
    let page: Page<Token> = app
        .get(&tokens[caller], "/api/v1/tokens")
        .await
        .read(StatusCode::OK);
    LeasedCluster {
        cluster: lease.cluster_id,
        name,
        lease: lease.id,
        operation: operation.id,
        token: page.items[0].id,
    }
}

/// Completes all operations and marks all clusters as ready, in order of creation, as if there were ledgers.
async fn mark_ready(folder: &Path) {
    let store = Store::open(folder, None).await.unwrap();
    let (now, mut tx) = (Timestamp::now(), store.begin().await.unwrap());
    for mut row in tx.operations_live().await.unwrap() {
        (row.state, row.ended_at) = (EnumColumn(OperationState::Succeeded), Some(now.into()));
        tx.operation_save(row).await.unwrap();
    }
    for (index, mut row) in (0..).zip(tx.clusters().await.unwrap()) {
        (row.state, row.health, row.operation_id) = (
            EnumColumn(ClusterState::Ready),
            EnumColumn(HealthState::Healthy),
            None,
        );
        (row.checked_at, row.ready_at) = (now.into(), Some(Timestamp(now.0 + index).into()));
        tx.cluster_save(row).await.unwrap();
    }
    tx.commit("test").await.unwrap();
    store.close().await.unwrap();
}

/// A server without rate limit.
fn unlimited() -> ServeConfig {
    ServeConfig::new("127.0.0.1:0".parse().unwrap())
}
