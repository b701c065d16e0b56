//! The state of the platform: a table of named objects, ours and foreign.

use bytes::Bytes;
use chainpool_agent::{ClusterKey, InstanceId, Labels, NodeSpec, NodeState, ObjectKind, Wake};
use ipnet::Ipv4Net;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{sync::mpsc::UnboundedSender, task::AbortHandle};

#[derive(Default)]
pub(crate) struct State {
    pub(crate) entities: BTreeMap<(ObjectKind, String), Entity>,
    pub(crate) watchers: Vec<Watcher>,
    count: u64,
}

pub(crate) struct Watcher {
    pub(crate) instance: InstanceId,
    pub(crate) sender: UnboundedSender<Wake>,
}

/// One object on the platform.
pub(crate) struct Entity {
    pub(crate) id: String,
    /// `None`: foreign.
    pub(crate) labels: Option<Labels>,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    Network(Option<Ipv4Net>),
    Volume(Files),
    Node(Box<Process>),
}

/// Files by their paths in a node.
pub(crate) type Files = BTreeMap<String, Entry>;

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

/// A node's process, running or not.
pub(crate) struct Process {
    pub(crate) key: ClusterKey,
    pub(crate) spec: NodeSpec,
    /// A job: it runs to completion, and the world never restarts it.
    pub(crate) job: bool,
    pub(crate) state: NodeState,
    /// Files outside every volume.
    pub(crate) root: Files,
    /// Ports with an echo server.
    pub(crate) echoes: BTreeSet<u16>,
    pub(crate) log: VecDeque<Line>,
    log_bytes: u64,
    /// Number of lines ever written.
    pub(crate) written: usize,
    pub(crate) starts: u64,
    /// The readiness check succeeded at its latest run.
    pub(crate) is_ready: bool,
    pub(crate) task: Option<AbortHandle>,
}

#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) at: i64,
    pub(crate) stderr: bool,
    pub(crate) bytes: Bytes,
}

impl Process {
    pub(crate) fn new(key: &ClusterKey, spec: &NodeSpec) -> Self {
        Self {
            key: *key,
            spec: spec.clone(),
            job: false,
            state: NodeState::Created,
            root: Files::new(),
            echoes: BTreeSet::new(),
            log: VecDeque::new(),
            log_bytes: 0,
            written: 0,
            starts: 0,
            is_ready: false,
            task: None,
        }
    }

    /// The process of a job. Its ports are unreachable.
    pub(crate) fn of_job(key: &ClusterKey, spec: &NodeSpec) -> Self {
        let mut process = Self {
            job: true,
            ..Self::new(key, spec)
        };
        process.spec.ports.clear();
        process
    }

    /// The state that the platform reports.
    pub(crate) fn reported_state(&self) -> NodeState {
        if self.state == NodeState::Running && self.spec.readiness.is_some() && !self.is_ready {
            return NodeState::Unready;
        }
        self.state.clone()
    }

    pub(crate) fn incarnation(&self) -> Option<u64> {
        (self.state == NodeState::Running).then_some(self.starts)
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.log.iter()
    }

    /// The newest lines.
    pub(crate) fn last_output(&self) -> String {
        let lines: Vec<_> = self
            .log
            .iter()
            .skip(self.log.len().saturating_sub(5))
            .map(|line| String::from_utf8_lossy(&line.bytes))
            .collect();
        lines.concat().trim().to_owned()
    }

    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// Writes a line, and drops the oldest beyond the limits.
    pub(crate) fn say(&mut self, stderr: bool, text: &str) {
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        let bytes = Bytes::from(format!("{text}\n"));
        self.log_bytes += bytes.len() as u64;
        self.log.push_back(Line { at, stderr, bytes });
        self.written += 1;
        let most = self.spec.log.max_bytes * u64::from(self.spec.log.max_files);
        while self.log_bytes > most {
            let Some(oldest) = self.log.pop_front() else { break };
            self.log_bytes -= oldest.bytes.len() as u64;
        }
    }
}

impl State {
    pub(crate) fn next_id(&mut self) -> String {
        self.count += 1;
        format!("entity-{}", self.count)
    }

    /// The files that contain this path of a node: those of a volume, or of its root.
    pub(crate) fn files(&mut self, node: &str, path: &str) -> Option<&mut Files> {
        let Body::Node(process) = &self.entities.get(&(ObjectKind::Node, node.to_owned()))?.body else {
            return None;
        };
        let volume = process
            .spec
            .volumes
            .iter()
            .find(|volume| path.starts_with(&format!("{}/", volume.path)));
        match volume.map(|volume| volume.object_name(&process.key, &process.spec.name)) {
            Some(name) => match &mut self.entities.get_mut(&(ObjectKind::Volume, name))?.body {
                Body::Volume(files) => Some(files),
                _ => None,
            },
            None => self.process(node).map(|process| &mut process.root),
        }
    }

    pub(crate) fn process(&mut self, node: &str) -> Option<&mut Process> {
        match &mut self.entities.get_mut(&(ObjectKind::Node, node.to_owned()))?.body {
            Body::Node(process) => Some(process),
            _ => None,
        }
    }

    pub(crate) fn wake(&mut self, labels: Option<&Labels>, died: Option<i64>) {
        let Some(Labels {
            instance,
            cluster,
            node,
            ..
        }) = labels
        else {
            return;
        };
        let died = died.zip(node.clone()).map(|(code, node)| Wake::Died {
            cluster: *cluster,
            node,
            code,
        });
        self.watchers.retain(|watcher| {
            let wakes = died.iter().cloned().chain([Wake::Changed(*cluster)]);
            watcher.instance != *instance || wakes.into_iter().all(|wake| watcher.sender.send(wake).is_ok())
        });
    }
}
