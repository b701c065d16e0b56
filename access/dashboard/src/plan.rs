//! What an action will do, said before it is done, and why it cannot be done now. Pure: values in, words out. The façade
//! decides again; this only tells in time.

use crate::format;
use chainpool_api as api;

/// What an action will do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What it makes.
    pub(crate) makes: Vec<String>,
    /// What it restarts or stops.
    pub(crate) restarts: Vec<String>,
    /// What it deletes for good.
    pub(crate) deletes: Vec<String>,
    /// What it leaves as it is.
    pub(crate) keeps: Vec<String>,
    /// Why it cannot be done now; empty when it can.
    pub(crate) blocked: String,
}

macro_rules! api_actions {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal, $label:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// The word in its address.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The words on its button.
            pub(crate) fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }

            /// The action of this word.
            pub(crate) fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

api_actions! {
    /// What can be done with a host.
    HostAction {
        /// Makes what is missing up to the capacity.
        Fillup = "fillup", "Fill up",
        /// Deletes the free clusters and keeps it from being filled.
        Clean = "clean", "Clean",
        /// Drops everything of this instance there.
        Reset = "reset", "Reset",
        /// Removes an empty host.
        Delete = "delete", "Delete",
        /// Forgets a host that never returns.
        Forget = "forget", "Forget",
    }
}

api_actions! {
    /// What can be done with a cluster.
    ClusterAction {
        /// Starts what was stopped.
        Start = "start", "Start",
        /// Stops it; data stays.
        Stop = "stop", "Stop",
        /// Stops and starts it.
        Restart = "restart", "Restart",
        /// Commits a transaction and reads it back.
        Prove = "prove", "Prove",
        /// Wipes it and makes it again.
        Reset = "reset", "Reset",
        /// Removes it.
        Delete = "delete", "Delete",
    }
}

impl HostAction {
    /// The class of its button.
    pub(crate) fn class(self) -> &'static str {
        if self.is_destructive() {
            "danger"
        } else {
            "primary"
        }
    }

    /// Whether the host's name must be typed first.
    pub(crate) fn is_destructive(self) -> bool {
        !matches!(self, Self::Fillup)
    }

    /// Why it cannot be done now; empty when it can.
    pub(crate) fn blocked(self, host: &api::Host) -> String {
        let away = host.state == api::HostState::Unreachable;
        let busy = host.operation_id.is_some();
        let clusters = format::counted(&host.clusters, "cluster");
        match self {
            Self::Fillup | Self::Clean | Self::Reset if away => "the host does not answer".into(),
            Self::Fillup | Self::Clean if busy => "another operation is under way on this host".into(),
            Self::Fillup if host.state == api::HostState::Paused => {
                "the host is paused; end the pause first".into()
            }
            Self::Fillup if host.clusters >= host.capacity => {
                format!("it is full: {} of {}", host.clusters, host.capacity)
            }
            Self::Clean if host.clusters == host.leased && !host.autofill => {
                "it has no free clusters and is not filled by itself".into()
            }
            Self::Reset if host.leased > 0 => format!("{} held; release them first", are(host.leased)),
            Self::Delete if host.clusters > 0 => format!("it still has {clusters}; clean or reset it first"),
            Self::Forget if !away => "only a host that does not answer can be forgotten".into(),
            _ => String::new(),
        }
    }

    /// What it will do to a host with these clusters.
    pub(crate) fn plan(self, host: &api::Host, clusters: &[api::Cluster]) -> Plan {
        let held: Vec<String> = clusters
            .iter()
            .filter(|c| c.lease_id.is_some())
            .map(held_by)
            .collect();
        let free: Vec<String> = clusters
            .iter()
            .filter(|c| c.lease_id.is_none())
            .map(|c| c.name.clone())
            .collect();
        let all: Vec<String> = clusters.iter().map(|c| c.name.clone()).collect();
        let others = "everything on this host that Chainpool did not make".to_owned();
        let mut plan = Plan {
            blocked: self.blocked(host),
            ..Plan::default()
        };
        match self {
            Self::Fillup => {
                let missing = host.capacity.saturating_sub(host.clusters);
                let policy = host
                    .fill
                    .iter()
                    .map(|fill| format!("{} {} (share {})", fill.network_type, fill.preset, fill.share));
                plan.makes = vec![format!(
                    "{} by its fill policy: {}",
                    format::counted(&missing, "cluster"),
                    policy.collect::<Vec<_>>().join(", ")
                )];
                plan.keeps = all;
            }
            Self::Clean => {
                plan.deletes = free;
                plan.keeps = held;
                plan.keeps
                    .push("the host itself; autofill is switched off".into());
            }
            Self::Reset => {
                plan.deletes = all;
                plan.deletes.push(
                    "whatever else on this host carries this installation's label, unclaimed objects too"
                        .into(),
                );
                plan.keeps = vec![others, "the host itself; autofill is switched off".into()];
            }
            Self::Delete => {
                plan.deletes = vec![format!("the host {} from this list", host.name)];
                plan.keeps = vec!["the machine and all that runs there".into()];
            }
            Self::Forget => {
                plan.deletes = vec![format!(
                    "the host {} and all of its clusters from this list: {}",
                    host.name,
                    listed(&all)
                )];
                plan.deletes
                    .extend(held.iter().map(|cluster| format!("the lease of {cluster}")));
                plan.keeps =
                    vec!["what stayed on the machine: it is named in the audit and never touched".into()];
            }
        }
        plan
    }
}

impl ClusterAction {
    /// Whether the cluster's name must be typed first.
    pub(crate) fn is_destructive(self) -> bool {
        matches!(self, Self::Reset | Self::Delete)
    }

    /// The class of its button.
    pub(crate) fn class(self) -> &'static str {
        if self.is_destructive() { "danger" } else { "" }
    }

    /// Whether it can be done to one node.
    pub(crate) fn takes_node(self) -> bool {
        matches!(self, Self::Start | Self::Stop | Self::Restart)
    }

    /// Why it cannot be done now; empty when it can.
    pub(crate) fn blocked(self, cluster: &api::Cluster) -> String {
        use api::ClusterState as S;
        let state = cluster.state;
        match self {
            Self::Delete if state == S::Deleting => return "it is being deleted".into(),
            Self::Reset if matches!(state, S::Deleting | S::Resetting) => return format!("it is {state}"),
            Self::Delete | Self::Reset => return String::new(),
            _ => {}
        }
        if cluster.operation_id.is_some() {
            return "another operation is under way; only reset and delete replace it".into();
        }
        match (self, state) {
            (Self::Start, S::Ready | S::Stopped) | (Self::Stop | Self::Restart | Self::Prove, S::Ready) => {
                String::new()
            }
            (Self::Stop, S::Stopped) => "it is stopped already".into(),
            (_, S::Stopped) => "it is stopped; start it first".into(),
            (_, S::Failed) => "making it failed; reset or delete it".into(),
            _ => format!("it is {state}"),
        }
    }

    /// What it will do to a cluster, or to one node of it.
    pub(crate) fn plan(self, cluster: &api::Cluster, node: Option<&str>) -> Plan {
        let nodes: Vec<String> = match node {
            Some(node) => vec![format!("node {node}")],
            None if cluster.nodes.is_empty() => vec![format::counted(&cluster.size, "node")],
            None => cluster.nodes.iter().map(|each| each.name.clone()).collect(),
        };
        let data = "all data, keys, addresses and ports".to_owned();
        let mut plan = Plan {
            blocked: self.blocked(cluster),
            ..Plan::default()
        };
        let lease: Vec<String> = cluster
            .holder
            .iter()
            .map(|holder| format!("the lease of {holder}: it ends as revoked"))
            .collect();
        match self {
            Self::Start => plan.restarts = started(&nodes, "starts"),
            Self::Stop => plan.restarts = started(&nodes, "stops"),
            Self::Restart => plan.restarts = started(&nodes, "restarts"),
            Self::Prove => {
                plan.makes =
                    vec!["one small transaction, read back through another node where there is one".into()]
            }
            Self::Reset => {
                plan.deletes = vec![format!(
                    "the ledger {} with its blocks, its keys and its volumes",
                    cluster.chain_id
                )];
                plan.deletes.extend(lease);
                plan.makes = vec![format!(
                    "a new ledger with new keys: {}",
                    format::counted(&cluster.size, "node")
                )];
                plan.keeps = vec![format!(
                    "the name {}, its host, its size and its ports",
                    cluster.name
                )];
                return plan;
            }
            Self::Delete => {
                let nodes = format::counted(&cluster.size, "node");
                plan.deletes = vec![format!(
                    "the cluster {}: {nodes}, their volumes, their network and their keys",
                    cluster.name
                )];
                plan.deletes.extend(lease);
                plan.keeps = vec![format!("the host {} and its other clusters", cluster.host)];
                return plan;
            }
        }
        plan.keeps = vec![data];
        plan
    }
}

fn started(nodes: &[String], verb: &str) -> Vec<String> {
    vec![format!("{verb} {}", nodes.join(", "))]
}

fn held_by(cluster: &api::Cluster) -> String {
    match &cluster.holder {
        Some(holder) => format!("{} (held by {holder})", cluster.name),
        None => cluster.name.clone(),
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn are(count: u32) -> String {
    if count == 1 {
        "1 cluster is".to_owned()
    } else {
        format!("{count} clusters are")
    }
}
