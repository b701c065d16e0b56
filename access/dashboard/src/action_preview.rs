//! Preview of an action: its effects, and the reason if it is blocked. Pure functions from values to text.
//! The façade decides again when the action runs.

use crate::format;
use chainpool_api as api;

/// The effects of an action.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ActionPreview {
    /// Objects to create.
    pub(crate) creates: Vec<String>,
    /// Nodes to start, stop or restart.
    pub(crate) restarts: Vec<String>,
    /// Objects to delete permanently.
    pub(crate) deletes: Vec<String>,
    /// Objects left unchanged.
    pub(crate) keeps: Vec<String>,
    /// Why the action is blocked; empty if it is not.
    pub(crate) blocked: String,
}

macro_rules! actions {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal, $label:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// The path segment.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The button label.
            pub(crate) fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }

            /// The action with this path segment.
            pub(crate) fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

actions! {
    /// Actions on a host.
    HostAction {
        /// Creates the missing clusters, up to the capacity.
        Fillup = "fillup", "Fill up",
        /// Deletes the free clusters and switches autofill off.
        Clean = "clean", "Clean",
        /// Deletes everything of this instance on the host.
        Reset = "reset", "Reset",
        /// Removes an empty host.
        Delete = "delete", "Delete",
        /// Removes the records of a host that is permanently lost.
        Forget = "forget", "Forget",
    }
}

actions! {
    /// Actions on a cluster.
    ClusterAction {
        /// Starts stopped nodes.
        Start = "start", "Start",
        /// Stops nodes; data is kept.
        Stop = "stop", "Stop",
        /// Stops and starts nodes.
        Restart = "restart", "Restart",
        /// Commits a transaction and reads it back.
        Prove = "prove", "Prove",
        /// Deletes its data and creates the next generation.
        Reset = "reset", "Reset",
        /// Deletes the cluster.
        Delete = "delete", "Delete",
    }
}

impl HostAction {
    /// The CSS class of the button.
    pub(crate) fn class(self) -> &'static str {
        if self.is_destructive() {
            "danger"
        } else {
            "primary"
        }
    }

    /// True if the host's name must be typed to confirm.
    pub(crate) fn is_destructive(self) -> bool {
        !matches!(self, Self::Fillup)
    }

    /// Why the action is blocked; empty if it is not.
    pub(crate) fn blocked(self, host: &api::Host) -> String {
        let unreachable = host.state == api::HostState::Unreachable;
        let busy = host.operation_id.is_some();
        let clusters = format::counted(&host.clusters, "cluster");
        match self {
            Self::Fillup | Self::Clean | Self::Reset if unreachable => "the host is unreachable".into(),
            Self::Fillup | Self::Clean if busy => "another operation is in progress on this host".into(),
            Self::Fillup if host.state == api::HostState::Paused => {
                "the host is paused; resume it first".into()
            }
            Self::Fillup if host.clusters >= host.settings.capacity => {
                format!(
                    "the host is full: {} of {} clusters",
                    host.clusters, host.settings.capacity
                )
            }
            Self::Clean if host.clusters == host.leased && !host.settings.autofill => {
                "the host has no free clusters and autofill is off".into()
            }
            Self::Reset if host.leased > 0 => format!("{} leased; release first", are(host.leased)),
            Self::Delete if host.clusters > 0 => {
                format!("the host still has {clusters}; reset it first")
            }
            Self::Forget if !unreachable => "only an unreachable host can be forgotten".into(),
            _ => String::new(),
        }
    }

    /// The effects on a host with these clusters.
    pub(crate) fn preview(self, host: &api::Host, clusters: &[api::Cluster]) -> ActionPreview {
        let leased: Vec<String> = clusters
            .iter()
            .filter(|c| c.lease_id.is_some())
            .map(leased_by)
            .collect();
        let free: Vec<String> = clusters
            .iter()
            .filter(|c| c.lease_id.is_none())
            .map(|c| c.name.clone())
            .collect();
        let all: Vec<String> = clusters.iter().map(|c| c.name.clone()).collect();
        let others = "everything on this host that Chainpool did not create".to_owned();
        let mut preview = ActionPreview {
            blocked: self.blocked(host),
            ..ActionPreview::default()
        };
        match self {
            Self::Fillup => {
                let missing = host.settings.capacity.saturating_sub(host.clusters);
                let policy = host
                    .settings
                    .fill
                    .iter()
                    .map(|fill| format!("{} {} (share {})", fill.network_type, fill.preset, fill.share));
                preview.creates = vec![format!(
                    "{} from the fill policy: {}",
                    format::counted(&missing, "cluster"),
                    policy.collect::<Vec<_>>().join(", ")
                )];
                preview.keeps = all;
            }
            Self::Clean => {
                preview.deletes = free;
                preview.keeps = leased;
                preview
                    .keeps
                    .push("the host record, with autofill switched off".into());
            }
            Self::Reset => {
                preview.deletes = all;
                preview
                    .deletes
                    .push("all other objects with this instance's label, including unclaimed objects".into());
                preview.keeps = vec![others, "the host record, with autofill switched off".into()];
            }
            Self::Delete => {
                preview.deletes = vec![format!("the record of host {}", host.name)];
                preview.keeps = vec!["the machine and everything that runs on it".into()];
            }
            Self::Forget => {
                preview.deletes = vec![format!(
                    "the records of host {} and all its clusters: {}",
                    host.name,
                    listed(&all)
                )];
                preview
                    .deletes
                    .extend(leased.iter().map(|cluster| format!("the lease of {cluster}")));
                preview.keeps = vec![
                    "objects left on the machine; they are listed in the audit log and never touched".into(),
                ];
            }
        }
        preview
    }
}

impl ClusterAction {
    /// True if the cluster's name must be typed to confirm.
    pub(crate) fn is_destructive(self) -> bool {
        matches!(self, Self::Reset | Self::Delete)
    }

    /// The CSS class of the button.
    pub(crate) fn class(self) -> &'static str {
        if self.is_destructive() { "danger" } else { "" }
    }

    /// True if the action can be limited to one node.
    pub(crate) fn takes_node(self) -> bool {
        matches!(self, Self::Start | Self::Stop | Self::Restart)
    }

    /// Why the action is blocked; empty if it is not.
    pub(crate) fn blocked(self, cluster: &api::Cluster) -> String {
        use api::ClusterState as S;
        let state = cluster.state;
        match self {
            Self::Delete if state == S::Deleting => return "the cluster is being deleted".into(),
            Self::Reset if matches!(state, S::Deleting | S::Resetting) => {
                return format!("the cluster is {state}");
            }
            Self::Delete | Self::Reset => return String::new(),
            _ => {}
        }
        if cluster.operation_id.is_some() {
            return "another operation is in progress; only reset and delete supersede it".into();
        }
        match (self, state) {
            (Self::Start, S::Ready | S::Stopped) | (Self::Stop | Self::Restart | Self::Prove, S::Ready) => {
                String::new()
            }
            (Self::Stop, S::Stopped) => "the cluster is already stopped".into(),
            (_, S::Stopped) => "the cluster is stopped; start it first".into(),
            (_, S::Failed) => "creation failed; reset or delete the cluster".into(),
            _ => format!("the cluster is {state}"),
        }
    }

    /// The effects on a cluster, or on one of its nodes.
    pub(crate) fn preview(self, cluster: &api::Cluster, node: Option<&str>) -> ActionPreview {
        let nodes: Vec<String> = match node {
            Some(node) => vec![format!("node {node}")],
            None if cluster.nodes.is_empty() => vec![format::counted(&cluster.size, "node")],
            None => cluster.nodes.iter().map(|each| each.name.clone()).collect(),
        };
        let data = "all data, keys, addresses and ports".to_owned();
        let mut preview = ActionPreview {
            blocked: self.blocked(cluster),
            ..ActionPreview::default()
        };
        let lease: Vec<String> = cluster
            .holder
            .iter()
            .map(|holder| format!("the lease of {holder}, which is revoked"))
            .collect();
        match self {
            Self::Start => preview.restarts = started(&nodes, "starts"),
            Self::Stop => preview.restarts = started(&nodes, "stops"),
            Self::Restart => preview.restarts = started(&nodes, "restarts"),
            Self::Prove => {
                preview.creates =
                    vec!["one small transaction, read back through another node if there is one".into()];
            }
            Self::Reset => {
                preview.deletes = vec![format!(
                    "ledger {} with its blocks, keys and volumes",
                    cluster.chain_id
                )];
                preview.deletes.extend(lease);
                preview.creates = vec![format!(
                    "a new ledger with new keys: {}",
                    format::counted(&cluster.size, "node")
                )];
                preview.keeps = vec![format!("the name {}, host, size and ports", cluster.name)];
                return preview;
            }
            Self::Delete => {
                let nodes = format::counted(&cluster.size, "node");
                preview.deletes = vec![format!(
                    "cluster {}: {nodes} with their volumes, network and keys",
                    cluster.name
                )];
                preview.deletes.extend(lease);
                preview.keeps = vec![format!("host {} and its other clusters", cluster.host)];
                return preview;
            }
        }
        preview.keeps = vec![data];
        preview
    }
}

fn started(nodes: &[String], verb: &str) -> Vec<String> {
    vec![format!("{verb} {}", nodes.join(", "))]
}

fn leased_by(cluster: &api::Cluster) -> String {
    match &cluster.holder {
        Some(holder) => format!("{} (leased by {holder})", cluster.name),
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
