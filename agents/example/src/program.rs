//! Runs a node's command: the kit's steps, in place of a real platform's shell.

use crate::{
    World,
    state::{Entry, Process, State},
};
use chainpool_agent::{
    NodeName, NodeState, ObjectKind, Variable,
    kit::program::{Step, steps},
    node_object_name,
};
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Duration};

/// Interval of `tick`.
const TICK: Duration = Duration::from_millis(200);

/// One run of a node, from first to last step.
struct Run {
    world: Arc<World>,
    name: String,
    number: u64,
}

/// Runs a node's command to the end. Stopping the node aborts this.
pub(crate) async fn run(world: Arc<World>, name: String, number: u64, command: Vec<String>) {
    let run = Run { world, name, number };
    let Some(steps) = steps(&command) else {
        run.say(true, &format!("not found: {command:?}"));
        return run.world.end(&run.name, 127);
    };
    for step in &steps {
        if let Some(code) = run.step(step).await {
            return run.world.end(&run.name, code);
        }
        run.check_readiness();
        run.world.notify();
    }
    run.world.end(&run.name, 0);
}

impl Run {
    /// Runs one step; a code ends the run.
    async fn step(&self, step: &Step) -> Option<i64> {
        match step {
            Step::Exit(code) => return Some((*code).into()),
            Step::Expect(path, text) => {
                let content = self
                    .read(path)
                    .map(|entry| String::from_utf8_lossy(&entry.content).trim_end().to_owned());
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
                for number in 1..=*lines {
                    self.say(false, &format!("flood {number} {}", "-".repeat(88)));
                }
                self.say(false, "flooded");
            }
            Step::Complain(text) => self.say(true, text),
            Step::Addresses => {
                let key = self.with(|process, _| process.key)?;
                let address = self.world.subnet(&key).and_then(|subnet| subnet.hosts().nth(1));
                self.say(
                    false,
                    &format!("addresses {}", address.map(|a| a.to_string()).unwrap_or_default()),
                );
            }
            other => {
                if let Some(text) = self.simple(other) {
                    self.say(false, &text);
                }
            }
        }
        None
    }

    /// Runs a step that takes no time; returns its line of output.
    fn simple(&self, step: &Step) -> Option<String> {
        let absent = |path: &str| format!("cat: can't open '{path}': No such file or directory");
        Some(match step {
            Step::Say(text) => text.clone(),
            Step::Show(path) => {
                let content = self.read(path).map_or_else(
                    || absent(path),
                    |entry| String::from_utf8_lossy(&entry.content).into_owned(),
                );
                format!("show {path}={}", content.trim_end())
            }
            Step::Digest(path) => {
                let digest = self.read(path).map_or_else(
                    || absent(path),
                    |entry| hex::encode(Sha256::digest(entry.content)),
                );
                format!("digest {path}={digest}")
            }
            Step::Stat(path) => match self.read(path) {
                Some(Entry {
                    mode,
                    owner: (user, group),
                    ..
                }) => format!("stat {path}={mode:o} {user} {group}"),
                None => format!("stat {path}={}", absent(path)),
            },
            Step::Variable(name) => {
                let value = self.with(|process, _| match process.spec.env.get(name) {
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
                let mut content = self.read(path).map(|entry| entry.content).unwrap_or_default();
                content.push(b'\n');
                let starts = content.len();
                self.write(path, content);
                format!("life {starts}")
            }
            Step::Root => format!(
                "root {}",
                held(self.with(|process, _| process.spec.read_only_root)?)
            ),
            Step::Memory(bytes) => format!(
                "memory {}",
                held(self.with(|process, _| *bytes > process.spec.limits.memory_bytes)?)
            ),
            Step::Processes(count) => format!(
                "processes {}",
                held(self.with(|process, _| *count > process.spec.limits.processes)?)
            ),
            Step::Processor => format!(
                "processor {}",
                held(
                    self.with(|process, _| process.spec.limits.cpu_millis.is_some_and(|limit| limit <= 500))?
                )
            ),
            Step::Echo(port) => {
                self.with(|process, _| process.echoes.insert(*port))?;
                return None;
            }
            _ => return None,
        })
    }

    /// Runs the readiness check. Only the node itself changes its files, so it runs after each step.
    fn check_readiness(&self) {
        let Some(Some(check)) = self.with(|process, _| process.spec.readiness.clone()) else {
            return;
        };
        let is_met = |step: &Step| match step {
            Step::Expect(path, text) => self
                .read(path)
                .is_some_and(|entry| String::from_utf8_lossy(&entry.content).trim_end() == text),
            _ => false,
        };
        let is_ready = steps(&check.command).is_some_and(|steps| steps.iter().all(is_met));
        let was_ready = self.with(|process, _| std::mem::replace(&mut process.is_ready, is_ready));
        if was_ready == Some(!is_ready) {
            let mut state = self.world.state();
            let node = (ObjectKind::Node, self.name.clone());
            let labels = state.entities.get(&node).and_then(|entity| entity.labels.clone());
            state.wake(labels.as_ref(), None);
        }
    }

    /// Waits until another node of this cluster listens.
    async fn reach(&self, node: &str, port: u16) {
        let (Some(key), Ok(node)) = (self.with(|process, _| process.key), NodeName::parse(node)) else {
            return;
        };
        let mut changes = self.world.changes();
        let listens = || {
            let mut state = self.world.state();
            let other = state.process(&node_object_name(&key, &node));
            other.is_some_and(|process| process.state == NodeState::Running && process.echoes.contains(&port))
        };
        // The world outlives its nodes: when its changes end, so does this node.
        while !listens() && changes.changed().await.is_ok() {}
    }

    /// Accesses this run's process; `None` when the run is over.
    fn with<T>(&self, read: impl FnOnce(&mut Process, &str) -> T) -> Option<T> {
        let mut state = self.world.state();
        let process = state
            .process(&self.name)
            .filter(|process| process.incarnation() == Some(self.number))?;
        Some(read(process, &self.name))
    }

    fn say(&self, stderr: bool, text: &str) {
        self.with(|process, _| process.say(stderr, text));
    }

    fn read(&self, path: &str) -> Option<Entry> {
        self.world.state().files(&self.name, path)?.get(path).cloned()
    }

    fn write(&self, path: &str, content: Vec<u8>) {
        let mut state: std::sync::MutexGuard<'_, State> = self.world.state();
        if let Some(files) = state.files(&self.name, path) {
            files
                .entry(path.to_owned())
                .or_insert(Entry {
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
