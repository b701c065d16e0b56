//! Runs the steps of the conformance kit, in place of a real platform's shell.

use crate::{World, files::FileEntry, process::Process, state::Body};
use chainpool_agent::{
    ClusterKey, NodeName, ObjectKind, Variable, kit::program::Step, network_name, node_object_name,
};
use sha2::{Digest, Sha256};
use std::{net::Ipv4Addr, sync::Arc, time::Duration};

/// Interval of `tick`.
const TICK: Duration = Duration::from_millis(200);

/// One run of a process, from first to last step.
struct Run {
    world: Arc<World>,
    name: String,
    number: u64,
}

/// Runs steps to the end. Stopping the process aborts this.
pub(crate) async fn run(world: Arc<World>, name: String, number: u64, steps: Vec<Step>) {
    let run = Run { world, name, number };
    for step in &steps {
        if let Some(code) = run.perform(step).await {
            return run.world.end(&run.name, code);
        }
        run.check_readiness();
        run.world.notify();
    }
    run.world.end(&run.name, 0);
}

impl Run {
    /// Runs one step; a code ends the run.
    async fn perform(&self, step: &Step) -> Option<i64> {
        match step {
            Step::Exit(code) => return Some((*code).into()),
            Step::Expect(path, text) => {
                let content = self
                    .read(path)
                    .map(|file| String::from_utf8_lossy(&file.content).trim_end().to_owned());
                if content.as_ref() != Some(text) {
                    self.say(false, &format!("{path} is not what it shall be"));
                    return Some(1);
                }
            }
            Step::Stay => std::future::pending().await,
            Step::Tick => {
                for number in 1_u64.. {
                    self.say(false, &format!("tick {number}"));
                    self.world.notify();
                    tokio::time::sleep(TICK).await;
                }
            }
            Step::Reach(node, port) => {
                self.reach(node, *port).await;
                self.say(false, &format!("reached {node}"));
            }
            Step::Flood(lines) => {
                (1..=*lines)
                    .for_each(|number| self.say(false, &format!("flood {number} {}", "-".repeat(88))));
                self.say(false, "flooded");
            }
            Step::Complain(text) => self.say(true, text),
            other => {
                if let Some(text) = self.perform_at_once(other) {
                    self.say(false, &text);
                }
            }
        }
        None
    }

    /// Runs a step that takes no time; returns its line of output.
    fn perform_at_once(&self, step: &Step) -> Option<String> {
        let text_of = |path: &str| match self.read(path) {
            Some(file) => String::from_utf8_lossy(&file.content).trim_end().to_owned(),
            None => format!("cat: can't open '{path}': No such file or directory"),
        };
        Some(match step {
            Step::Say(text) => text.clone(),
            Step::Show(path) => format!("show {path}={}", text_of(path)),
            Step::Digest(path) => {
                let digest = self
                    .read(path)
                    .map_or_else(|| text_of(path), |file| hex::encode(Sha256::digest(file.content)));
                format!("digest {path}={digest}")
            }
            Step::Stat(path) => match self.read(path) {
                Some(FileEntry {
                    mode,
                    owner: (user, group),
                    ..
                }) => format!("stat {path}={mode:o} {user} {group}"),
                None => format!("stat {path}={}", text_of(path)),
            },
            Step::Variable(name) => {
                let value = self.with(|process| match process.spec.env.get(name) {
                    Some(Variable::Plain(text)) => text.clone(),
                    Some(Variable::Secret(text)) => text.expose().clone(),
                    None => String::new(),
                })?;
                format!("variable {name}={value}")
            }
            Step::Write(path, text) => {
                self.write(path, format!("{text}\n").into_bytes());
                return None;
            }
            Step::Remove(path) => {
                if let Some(files) = self.world.state().files(&self.name, path) {
                    files.remove(path);
                }
                return None;
            }
            Step::Count(path) => {
                let mut content = self.read(path).map(|file| file.content).unwrap_or_default();
                content.push(b'\n');
                let starts = content.len();
                self.write(path, content);
                format!("life {starts}")
            }
            Step::Root => format!("root {}", held(self.with(|process| process.spec.read_only_root)?)),
            Step::Memory(bytes) => format!(
                "memory {}",
                held(self.with(|process| *bytes > process.spec.limits.memory_bytes)?)
            ),
            Step::Processes(count) => format!(
                "processes {}",
                held(self.with(|process| *count > process.spec.limits.processes)?)
            ),
            Step::Addresses => {
                let address = self
                    .with(|process| process.key)
                    .and_then(|key| self.address(&key));
                format!(
                    "addresses {}",
                    address.map(|address| address.to_string()).unwrap_or_default()
                )
            }
            Step::Processor => format!(
                "processor {}",
                held(self.with(|process| process.spec.limits.cpu_millis.is_some_and(|limit| limit <= 500))?)
            ),
            Step::Echo(port) => {
                self.with(|process| process.echoes.insert(*port))?;
                return None;
            }
            _ => return None,
        })
    }

    /// Runs the readiness check. Only the node itself changes its files, so it runs after each step.
    fn check_readiness(&self) {
        let Some(Some(steps)) = self.with(|process| process.spec.readiness.clone()) else {
            return;
        };
        let is_met = |step: &Step| match step {
            Step::Expect(path, text) => self
                .read(path)
                .is_some_and(|file| String::from_utf8_lossy(&file.content).trim_end() == text),
            _ => false,
        };
        let is_ready = steps.iter().all(is_met);
        let was_ready = self.with(|process| std::mem::replace(&mut process.is_ready, is_ready));
        if was_ready == Some(!is_ready) {
            let mut state = self.world.state();
            let labels = state.labels(&self.name);
            state.wake(labels.as_ref(), None);
        }
    }

    /// Waits until another node of this cluster listens.
    async fn reach(&self, node: &str, port: u16) {
        let (Some(key), Ok(node)) = (self.with(|process| process.key), NodeName::parse(node)) else {
            return;
        };
        let mut changes = self.world.changes();
        let other = node_object_name(&key, &node);
        let listens = || {
            self.world
                .state()
                .process(&other)
                .is_some_and(|process| process.runs() && process.echoes.contains(&port))
        };
        // The world outlives its nodes: when its changes end, so does this node.
        while !listens() && changes.changed().await.is_ok() {}
    }

    /// An address of a node in its cluster's network.
    fn address(&self, key: &ClusterKey) -> Option<Ipv4Addr> {
        match self
            .world
            .state()
            .objects
            .get(&(ObjectKind::Network, network_name(key)))?
            .body
        {
            Body::Network(Some(subnet)) => subnet.hosts().nth(1),
            _ => None,
        }
    }

    /// Accesses this run's process; `None` when the run is over.
    fn with<T>(&self, read: impl FnOnce(&mut Process) -> T) -> Option<T> {
        let mut state = self.world.state();
        let process = state
            .process_mut(&self.name)
            .filter(|process| process.incarnation() == Some(self.number))?;
        Some(read(process))
    }

    fn say(&self, stderr: bool, text: &str) {
        let at = self.world.state().second();
        self.with(|process| process.say(at, stderr, text));
    }

    fn read(&self, path: &str) -> Option<FileEntry> {
        self.world.state().files(&self.name, path)?.get(path).cloned()
    }

    fn write(&self, path: &str, content: Vec<u8>) {
        if let Some(files) = self.world.state().files(&self.name, path) {
            files
                .entry(path.to_owned())
                .or_insert(FileEntry {
                    content: Vec::new(),
                    mode: 0o644,
                    owner: (1000, 1001),
                })
                .content = content;
        }
    }
}

fn held(held: bool) -> &'static str {
    if held { "held" } else { "open" }
}
