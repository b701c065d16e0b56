//! Probes of a network, and restarts of its stalled nodes.

use super::*;

impl Network {
    /// Probes and restarts stalled nodes as the orchestrator does. If a running node is late, as on a busy
    /// machine, it probes again.
    pub(crate) async fn probe(&self) -> Evidence {
        let until = Instant::now() + BUSY;
        loop {
            let evidence = self.kind.probe(&self.nodes, &self.observed()).await;
            self.restart(&self.overdue(&evidence));
            let late = self.late(&evidence);
            if late.is_empty() || Instant::now() >= until {
                return evidence;
            }
            println!("probing again: {}", late.join(", "));
        }
    }

    /// Nodes that only a restart helps.
    pub(super) fn overdue(&self, evidence: &Evidence) -> Vec<NodeName> {
        let now = Timestamp::now();
        let mut tracker = self.tracker.lock().expect("not poisoned");
        tracker.observe(&node_reports(evidence), &BTreeSet::new(), true, now);
        let overdue = tracker.overdue(&HealthPolicy::default(), Timestamp::default(), now);
        if !overdue.is_empty() {
            tracker.restarted(now);
        }
        let parse = |name: &String| NodeName::parse(name).expect("a node name");
        overdue.iter().map(parse).collect()
    }

    /// Nodes that are running and not frozen but late.
    pub(super) fn late(&self, evidence: &Evidence) -> Vec<String> {
        let frozen = self.frozen.lock().expect("not poisoned");
        let is_late = |why: &&str| why.contains("no response within") || why.contains("no connection within");
        let awake = evidence
            .nodes
            .iter()
            .filter(|(node, _)| !frozen.contains(&name(node)));
        awake
            .filter_map(|(node, seen)| Some(format!("{node}: {}", seen.silent.as_deref().filter(is_late)?)))
            .collect()
    }

    pub(super) fn restart(&self, nodes: &[NodeName]) {
        for node in nodes {
            println!("restarting stalled node {node}");
            self.kill(node);
            self.start_node(node);
        }
    }

    pub(super) fn assess(&self, evidence: &Evidence, history: &History) -> Verdict {
        self.kind.verdict(
            &self.request.parameters,
            evidence,
            history,
            &self.nodes.policy,
            Timestamp::now(),
        )
    }

    /// Probes until the verdict has this state.
    pub(crate) async fn wait_for(&self, history: &History, state: HealthState) -> Verdict {
        let deadline = Instant::now() + HANGS;
        loop {
            let evidence = self.probe().await;
            let verdict = self.assess(&evidence, history);
            if verdict.state == state {
                let unresponsive = evidence
                    .nodes
                    .iter()
                    .filter_map(|(node, seen)| Some((node, seen.silent.as_ref()?)));
                println!(
                    "{verdict:?}; unresponsive: {:?}",
                    unresponsive.collect::<Vec<_>>()
                );
                return verdict;
            }
            assert!(
                Instant::now() < deadline,
                "{verdict:?} on {evidence:#?}\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
