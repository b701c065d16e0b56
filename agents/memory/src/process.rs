//! A node's process, running or not, with its log.

use crate::{
    files::Files,
    ledger::{Genesis, NodeBehavior},
};
use bytes::Bytes;
use chainpool_agent::{ClusterKey, Limits, NodeName, NodeSpec, NodeState, Variable, Volume, kit::program};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};
use tokio::task::AbortHandle;

/// The program of a node's command.
#[derive(Clone)]
pub(crate) enum Program {
    /// Steps of the conformance kit, run by a task.
    Steps(Vec<program::Step>),
    /// A node of the scripted ledger. It reads neither files nor environment.
    Ledger(Arc<Genesis>),
    /// The ledger's job: exits with this code at once.
    Setup(i64),
    /// An unknown command.
    Absent(Vec<String>),
}

impl Program {
    fn of(command: &[String]) -> Self {
        if let Some(steps) = program::steps(command) {
            return Self::Steps(steps);
        }
        let known = match command {
            [name, genesis] if name == Genesis::PROGRAM => {
                serde_json::from_str(genesis).ok().map(Arc::new).map(Self::Ledger)
            }
            [name, code] if name == Genesis::SETUP => code.parse().ok().map(Self::Setup),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Absent(command.to_vec()))
    }

    /// `true` if it may read the files and the environment of its node.
    pub(crate) fn reads_files(&self) -> bool {
        !matches!(self, Self::Ledger(_))
    }
}

/// The part of a node's spec that its process needs. The hash is in the labels, and the files are in the volumes.
#[derive(Clone)]
pub(crate) struct ProcessSpec {
    pub(crate) name: NodeName,
    pub(crate) env: BTreeMap<String, Variable>,
    pub(crate) volumes: Box<[Volume]>,
    /// Its ports on the host.
    pub(crate) published: Box<[u16]>,
    pub(crate) limits: Limits,
    /// The steps of its readiness check.
    pub(crate) readiness: Option<Box<[program::Step]>>,
    pub(crate) read_only_root: bool,
    /// The largest size of its log.
    max_log_bytes: u64,
}

impl ProcessSpec {
    fn of(spec: &NodeSpec, program: &Program) -> Self {
        Self {
            name: spec.name.clone(),
            env: if program.reads_files() {
                spec.env.clone()
            } else {
                BTreeMap::new()
            },
            volumes: spec.volumes.clone().into(),
            published: spec.ports.iter().filter_map(|port| port.published).collect(),
            limits: spec.limits.clone(),
            readiness: spec
                .readiness
                .as_ref()
                .map(|check| program::steps(&check.command).unwrap_or_default().into()),
            read_only_root: spec.read_only_root,
            max_log_bytes: spec.log.max_bytes * u64::from(spec.log.max_files),
        }
    }
}

/// A node's process. A clone has no task.
pub(crate) struct Process {
    pub(crate) key: ClusterKey,
    pub(crate) spec: ProcessSpec,
    /// A job: it runs to completion, and the world never restarts it.
    pub(crate) job: bool,
    pub(crate) program: Program,
    pub(crate) state: NodeState,
    /// Files outside every volume.
    pub(crate) root: Files,
    /// Ports with an echo server.
    pub(crate) echoes: BTreeSet<u16>,
    /// Its behavior as a ledger node, until its next start.
    pub(crate) behavior: NodeBehavior,
    pub(crate) task: Option<AbortHandle>,
    /// Number of starts.
    pub(crate) starts: u64,
    /// The readiness check succeeded at its latest run.
    pub(crate) is_ready: bool,
    log: Log,
}

impl Clone for Process {
    fn clone(&self) -> Self {
        let Self {
            key,
            spec,
            job,
            program,
            state,
            root,
            echoes,
            behavior,
            task: _,
            starts,
            is_ready,
            log,
        } = self;
        Self {
            key: *key,
            spec: spec.clone(),
            job: *job,
            program: program.clone(),
            state: state.clone(),
            root: root.clone(),
            echoes: echoes.clone(),
            behavior: behavior.clone(),
            task: None,
            starts: *starts,
            is_ready: *is_ready,
            log: log.clone(),
        }
    }
}

/// The newest lines of a process.
#[derive(Clone, Default)]
struct Log {
    lines: VecDeque<Line>,
    bytes: usize,
    /// Number of lines ever written.
    written: usize,
}

#[derive(Clone)]
pub(crate) struct Line {
    /// The second (Unix time).
    pub(crate) at: i64,
    pub(crate) stderr: bool,
    pub(crate) bytes: Bytes,
}

impl Process {
    /// The process of a node.
    pub(crate) fn of_node(key: &ClusterKey, spec: &NodeSpec) -> Self {
        let program = Program::of(&spec.command);
        Self {
            key: *key,
            spec: ProcessSpec::of(spec, &program),
            program,
            job: false,
            state: NodeState::Created,
            root: Files::new(),
            echoes: BTreeSet::new(),
            behavior: NodeBehavior::default(),
            task: None,
            starts: 0,
            is_ready: false,
            log: Log::default(),
        }
    }

    /// The process of a job. Its ports are unreachable.
    pub(crate) fn of_job(key: &ClusterKey, spec: &NodeSpec) -> Self {
        let mut process = Self {
            job: true,
            ..Self::of_node(key, spec)
        };
        process.spec.published = Box::default();
        process
    }

    /// The state that the platform reports.
    pub(crate) fn reported_state(&self) -> NodeState {
        if self.runs() && self.spec.readiness.is_some() && !self.is_ready {
            return NodeState::Unready;
        }
        self.state.clone()
    }

    pub(crate) fn runs(&self) -> bool {
        self.state == NodeState::Running
    }

    /// Running or paused.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.state, NodeState::Running | NodeState::Paused)
    }

    /// The number of its current incarnation.
    pub(crate) fn incarnation(&self) -> Option<u64> {
        self.is_alive().then_some(self.starts)
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.log.lines.iter()
    }

    /// Number of lines ever written.
    pub(crate) fn written(&self) -> usize {
        self.log.written
    }

    /// A line by its number, or the oldest line when that one is dropped.
    pub(crate) fn line(&self, number: usize) -> Option<&Line> {
        let oldest = self.log.written - self.log.lines.len();
        self.log.lines.get(number.saturating_sub(oldest))
    }

    /// The newest lines.
    pub(crate) fn last_output(&self) -> String {
        let skip = self.log.lines.len().saturating_sub(5);
        let lines: Vec<_> = self
            .lines()
            .skip(skip)
            .map(|line| String::from_utf8_lossy(&line.bytes))
            .collect();
        lines.concat().trim().to_owned()
    }

    /// Writes a line, and drops the oldest beyond the limits.
    pub(crate) fn say(&mut self, at: i64, stderr: bool, text: &str) {
        let bytes = Bytes::from(format!("{text}\n"));
        self.log.bytes += bytes.len();
        self.log.lines.push_back(Line { at, stderr, bytes });
        self.log.written += 1;
        let most = usize::try_from(self.spec.max_log_bytes).unwrap_or(usize::MAX);
        while self.log.bytes > most {
            let Some(oldest) = self.log.lines.pop_front() else {
                break;
            };
            self.log.bytes -= oldest.bytes.len();
        }
    }
}
