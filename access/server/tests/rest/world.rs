//! A pool in which two accounts hold a cluster each, and all who may ask for these or may not.

use crate::app::App;
use chainpool_api::{
    ClusterState, HealthState, Lease, Operation, OperationState, Page, Role, Timestamp, Token,
};
use chainpool_orchestrator::Access;
use chainpool_server::ServeConfig;
use chainpool_store::{Store, Word};
use http::StatusCode;
use serde_json::json;
use std::{collections::BTreeMap, fs, path::Path};
use tempfile::TempDir;
use uuid::Uuid;

/// What nobody may read but those who hold the clusters, operators and admins: names of accounts and clusters, and where
/// the host is.
pub(crate) const SECRETS: [&str; 6] = ["annabel", "beryl", "topaz", "otto", "portal", "barren.sock"];

/// How a caller stands to what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tie {
    /// It is not signed in.
    Nobody,
    /// It is another account's.
    Foreign,
    /// It is its own.
    Own,
    Operator,
    Admin,
}

/// Who asks, by the name of its token; nobody has none.
pub(crate) type Actor = (&'static str, Tie);

/// Those who ask for what annabel holds.
const OF_OWN: [Actor; 6] = [
    ("nobody", Tie::Nobody),
    ("bob", Tie::Foreign),
    ("program of shop", Tie::Foreign),
    ("annabel", Tie::Own),
    ("otto", Tie::Operator),
    ("eve", Tie::Admin),
];

/// Those who ask for what portal's program holds for its customer dave, whose name a local account has, too.
const OF_CUSTOMER: [Actor; 5] = [
    ("dave", Tie::Foreign),
    ("annabel", Tie::Foreign),
    ("portal", Tie::Foreign),
    ("program of shop", Tie::Foreign),
    ("program of portal", Tie::Own),
];

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    Everybody,
    /// Each gets its own: lists, its session, what it makes.
    SignedIn,
    /// What is another's is not there.
    HolderOrOperator,
    /// What is another's is not there, for operators neither.
    OwnerOrAdmin,
    /// The page is there for its holder, the deed is not its.
    OperatorOfVisible,
    Operators,
    Admins,
}

impl Rule {
    /// What the table of routes says for it.
    pub(crate) fn access(self) -> Access {
        match self {
            Self::Everybody => Access::Anyone,
            Self::SignedIn | Self::HolderOrOperator | Self::OwnerOrAdmin | Self::OperatorOfVisible => {
                Access::AtLeast(Role::User)
            }
            Self::Operators => Access::AtLeast(Role::Operator),
            Self::Admins => Access::AtLeast(Role::Admin),
        }
    }

    /// How a caller is refused; `None`: it is let through.
    pub(crate) fn refuses(self, tie: Tie) -> Option<u16> {
        match (self, tie) {
            (Self::Everybody, _) => None,
            (_, Tie::Nobody) => Some(401),
            (_, Tie::Admin) | (Self::SignedIn, _) => None,
            (Self::Admins, _)
            | (Self::Operators, Tie::Own | Tie::Foreign)
            | (Self::OperatorOfVisible, Tie::Own) => Some(403),
            (Self::OwnerOrAdmin, Tie::Operator)
            | (Self::HolderOrOperator | Self::OwnerOrAdmin | Self::OperatorOfVisible, Tie::Foreign) => {
                Some(404)
            }
            (_, Tie::Operator) | (Self::HolderOrOperator | Self::OwnerOrAdmin, Tie::Own) => None,
        }
    }
}

/// One cluster with what belongs to it.
pub(crate) struct Held {
    cluster: Uuid,
    name: &'static str,
    lease: Uuid,
    /// What otto did with it while it was held.
    operation: Uuid,
    token: Uuid,
}

impl Held {
    /// The path of a route with this cluster, its lease, its operation, and a token of its account.
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

    /// The cluster's name, to be typed.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }
}

/// The pool, as a data folder that can be opened many times.
pub(crate) struct World {
    folder: TempDir,
    tokens: BTreeMap<&'static str, String>,
    own: Held,
    customer: Held,
}

impl World {
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
        make_ready(folder.path()).await;
        let app = App::open(folder, false, unlimited()).await;
        let own = hold(&app, &tokens, ("annabel", "beryl", "annabel"), json!({})).await;
        let customer = hold(
            &app,
            &tokens,
            ("program of portal", "topaz", "portal/dave"),
            json!({ "holder": "dave" }),
        )
        .await;
        let folder = app.end().await;
        make_ready(folder.path()).await;
        Self {
            folder,
            tokens,
            own,
            customer,
        }
    }

    /// A server on a copy of it, which works on nothing.
    pub(crate) async fn open(&self) -> App {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        App::open(copy, false, unlimited()).await
    }

    /// The token of somebody; nobody has none.
    pub(crate) fn token(&self, who: &str) -> Option<&str> {
        self.tokens.get(who).map(String::as_str)
    }

    /// What is held, with those who ask for it by this rule. What belongs to an account is one and the same for its programs.
    pub(crate) fn subjects(&self, rule: Rule) -> Vec<(&Held, &'static [Actor])> {
        let all: [(&Held, &'static [Actor]); 2] = [(&self.own, &OF_OWN), (&self.customer, &OF_CUSTOMER)];
        all.into_iter()
            .take(if rule == Rule::OwnerOrAdmin { 1 } else { 2 })
            .collect()
    }
}

/// Has somebody apply for the cluster that is next, and otto restart it.
async fn hold(
    app: &App,
    tokens: &BTreeMap<&str, String>,
    (who, name, holder): (&str, &'static str, &str),
    apply: serde_json::Value,
) -> Held {
    let lease: Lease = app
        .post(&tokens[who], "/api/v1/leases", apply)
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
    let page: Page<Token> = app.get(&tokens[who], "/api/v1/tokens").await.read(StatusCode::OK);
    Held {
        cluster: lease.cluster_id,
        name,
        lease: lease.id,
        operation: operation.id,
        token: page.items[0].id,
    }
}

/// Ends all operations and makes all clusters ready, in the order in which they were created, as if there were ledgers.
async fn make_ready(folder: &Path) {
    let store = Store::open(folder, None).await.unwrap();
    let (now, mut tx) = (Timestamp::now(), store.begin().await.unwrap());
    for mut row in tx.operations_live().await.unwrap() {
        (row.state, row.ended_at) = (Word(OperationState::Succeeded), Some(now.into()));
        tx.operation_save(row).await.unwrap();
    }
    for (place, mut row) in (0..).zip(tx.clusters().await.unwrap()) {
        (row.state, row.health, row.operation_id) =
            (Word(ClusterState::Ready), Word(HealthState::Healthy), None);
        (row.checked_at, row.ready_at) = (now.into(), Some(Timestamp(now.0 + place).into()));
        tx.cluster_save(row).await.unwrap();
    }
    tx.commit("test").await.unwrap();
    store.close().await.unwrap();
}

/// A server without limits on requests.
fn unlimited() -> ServeConfig {
    ServeConfig::new("127.0.0.1:0".parse().unwrap())
}
