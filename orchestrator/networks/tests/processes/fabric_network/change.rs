//! Amendments of a running network, performed as the orchestrator does, during commits.

use super::Network;
use chainpool_agent::{Boot, NodeName, SpecHash};
use chainpool_api::{HealthState, Timestamp};
use chainpool_networks::{Amendment, History, PreviousChange, RenderRequest};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// Time limit of an action.
const ACTION_LIMIT: Duration = Duration::from_mins(1);

impl Network {
    /// Changes parameters or renews the certificates, performs every phase, and repeats all idempotent
    /// actions.
    pub(crate) async fn amend(&mut self, given: &Value, renew_certificates: bool) {
        let before = self.change(given, renew_certificates);
        self.perform(&before, Execution::Uninterrupted).await;
    }

    /// Changes parameters and interrupts every action repeatedly, each time a little later.
    pub(crate) async fn amend_with_interruptions(&mut self, given: &Value) {
        let before = self.change(given, false);
        self.perform(&before, Execution::Interrupted).await;
    }

    /// Adopts the changed spec. Returns the previous hashes of the nodes.
    fn change(&mut self, given: &Value, renew_certificates: bool) -> BTreeMap<NodeName, SpecHash> {
        let mut parameters = self.request.parameters.clone();
        for (name, value) in given.as_object().expect("an object") {
            parameters[name] = value.clone();
        }
        let parameters = self
            .kind
            .validate("tiny", parameters.as_object().expect("an object"))
            .expect("valid parameters");
        let mut ports = self.request.ports.clone();
        for need in self.kind.requirements(&parameters).ports {
            let next = 20_001 + u16::try_from(ports.len()).expect("a few");
            ports.entry(need).or_insert(next);
        }
        let request = RenderRequest {
            parameters,
            ports,
            genesis_at: Timestamp::now(),
            ..self.request.clone()
        };
        let change = Amendment {
            request: request.clone(),
            renew_certificates,
            previous: PreviousChange::Completed,
        };
        let seed = chainpool_agent::Secret::new(rand::random());
        let before = self
            .spec()
            .nodes
            .iter()
            .map(|node| (node.name.clone(), node.hash.clone()))
            .collect();
        let spec = self
            .kind
            .amend(self.spec(), &change, &seed)
            .expect("it can be changed so");
        self.request = request;
        self.use_spec(spec);
        before
    }

    async fn perform(&self, before: &BTreeMap<NodeName, SpecHash>, execution: Execution) {
        let boot = &self.spec().boot;
        let mut started = Timestamp::now();
        let alone = before
            .keys()
            .filter(|name| name.as_str().starts_with("orderer"))
            .count()
            == 1;
        for phase in boot {
            let begun = Instant::now();
            match (phase, execution) {
                (Boot::Start(names), _) => {
                    started = Timestamp::now();
                    self.apply_nodes(names, before);
                }
                (Boot::Ready(names), _) => self.ready(names).await,
                (Boot::Init(action), Execution::Uninterrupted) => tokio::select! {
                    () = self.init_with_retries(action) => {}
                    () = self.watch(started, alone) => {}
                },
                (Boot::Init(action), Execution::Interrupted) => self.init_interrupted(action).await,
                (Boot::Job(job), _) => panic!("Fabric has no jobs: {job}"),
            }
            println!("{phase:?}: {:?}", begun.elapsed());
        }
        let begun = Instant::now();
        for phase in boot {
            if let Boot::Init(action) = phase {
                self.init(action).await;
            }
        }
        println!("all actions again: {:?}", begun.elapsed());
    }

    /// Creates new nodes and replaces changed ones.
    fn apply_nodes(&self, names: &[NodeName], before: &BTreeMap<NodeName, SpecHash>) {
        for name in names {
            let node = self.spec().node(name).expect("it is there");
            match before.get(name) {
                Some(hash) if *hash == node.hash => continue,
                Some(_) => self.stop(name),
                None => {}
            }
            self.place(node);
            self.start(node);
        }
    }

    /// Stops a process as a platform does.
    fn stop(&self, node: &NodeName) {
        let mut child = self
            .running
            .lock()
            .expect("not poisoned")
            .remove(node)
            .expect("it runs");
        assert!(
            Command::new("kill")
                .args(["-TERM", &child.id().to_string()])
                .status()
                .expect("kill runs")
                .success()
        );
        child.wait().expect("gone");
    }

    async fn ready(&self, names: &[NodeName]) {
        let deadline = Instant::now() + ACTION_LIMIT;
        loop {
            let evidence = self.probe().await;
            if names.iter().all(|name| evidence.nodes[name.as_str()].answers) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{names:?} are not responsive: {evidence:#?}\n{}",
                self.logs()
            );
        }
    }

    async fn init_with_retries(&self, action: &str) {
        let deadline = Instant::now() + ACTION_LIMIT;
        while let Err(why) = self.kind.init(&self.nodes, action).await {
            println!("{action}, retry: {why}");
            assert!(Instant::now() < deadline, "{action}: {why}\n{}", self.logs());
            self.restart(&why.restart);
        }
    }

    /// Probes repeatedly: a successful change breaks nothing. Growing from one orderer to two has no leader
    /// until the second one receives the configuration block, which takes it about as long as a reconnected
    /// orderer.
    async fn watch(&self, started: Timestamp, alone: bool) {
        let mut led = Instant::now();
        loop {
            let evidence = self.probe().await;
            if !self.late(&evidence).is_empty() {
                // The machine is busy: this probe is no evidence about the change.
                led = Instant::now();
                continue;
            }
            let verdict = self.assess(
                &evidence,
                &History {
                    started_at: Some(started),
                    ..History::default()
                },
            );
            let broken = verdict.state == HealthState::Broken;
            let unled =
                alone && broken && verdict.reason.starts_with("no Raft leader") && led.elapsed() < LEADERLESS;
            assert!(!broken || unled, "{verdict:?} on {evidence:#?}");
            led = if unled { led } else { Instant::now() };
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn init_interrupted(&self, action: &str) {
        let deadline = Instant::now() + ACTION_LIMIT;
        let mut limit = Duration::from_millis(40);
        loop {
            match timeout(limit, self.kind.init(&self.nodes, action)).await {
                Ok(Ok(())) => return,
                Ok(Err(why)) => {
                    println!("{action}, retry: {why}");
                    self.restart(&why.restart);
                }
                Err(_) => println!("{action} interrupted after {limit:?}"),
            }
            assert!(Instant::now() < deadline, "{action}: {}", self.logs());
            self.probe().await;
            limit += limit / 2;
        }
    }

    /// Commits transactions of one organisation in a loop: each approves another version of a chaincode that
    /// is never defined. It waits until a peer has the transaction in a block, and tries another orderer
    /// after a failure.
    pub(crate) fn commit_on(&self, channel: &str) -> Commits {
        let stop = Arc::new(AtomicBool::new(false));
        let commands: Vec<_> = ["orderer0", "orderer1"]
            .map(|orderer| {
                let to = format!("-o {orderer}:7050 --tls --cafile $PWD/orderers/tlsca.pem -C {channel} --connTimeout 2s");
                let what = "-n never --sequence 1 --waitForEventTimeout 2s";
                let text = format!(". org1/env && peer lifecycle chaincode approveformyorg {to} {what} --version v$(date +%s%N)");
                self.user(&text)
            })
            .into();
        let until = Arc::clone(&stop);
        Commits {
            stop,
            thread: std::thread::spawn(move || commits(commands, &until)),
        }
    }
}

/// Maximum time without a leader while orderers join: as long as the verdict waits for a reconnected one.
const LEADERLESS: Duration = Duration::from_secs(12);

/// Execution of actions.
#[derive(Clone, Copy)]
enum Execution {
    Uninterrupted,
    Interrupted,
}

/// A loop of transactions.
pub(crate) struct Commits {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u32, Duration)>,
}

impl Commits {
    /// Stops the loop. Returns the number of commits and the longest time between two.
    pub(crate) async fn end(self) -> (u32, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        tokio::task::spawn_blocking(move || self.thread.join().expect("it does not panic"))
            .await
            .expect("it ends")
    }
}

fn commits(mut commands: Vec<Command>, stop: &AtomicBool) -> (u32, Duration) {
    let (mut count, mut longest, mut last) = (0, Duration::ZERO, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let ran = commands[0].output().expect("it runs");
        if ran.status.success() {
            longest = longest.max(last.elapsed());
            (count, last) = (count + 1, Instant::now());
        } else {
            let said = String::from_utf8_lossy(&ran.stderr);
            println!(
                "no commit for {:?}: {}",
                last.elapsed(),
                said.lines().last().unwrap_or_default()
            );
            commands.rotate_left(1);
        }
    }
    (count, longest.max(last.elapsed()))
}
