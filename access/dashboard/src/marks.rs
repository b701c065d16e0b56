//! State is never colour alone: one of six shapes and a word. The same everywhere: table, graph, tab icon, title.

#![expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "templates hand over every value by reference"
)]

use chainpool_api as api;

/// A shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// ● all is well.
    Healthy,
    /// ◐ it works, but something is missing.
    Degraded,
    /// ▲ somebody must act.
    Broken,
    /// ○ at rest.
    Stopped,
    /// ? nothing can be known.
    Unknown,
    /// ◌ being worked on.
    Working,
}

impl Mark {
    /// The name of its class, its symbol and its tab icon.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Broken => "broken",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
            Self::Working => "working",
        }
    }

    /// The shape as a character, for the title.
    pub(crate) fn glyph(self) -> char {
        match self {
            Self::Healthy => '●',
            Self::Degraded => '◐',
            Self::Broken => '▲',
            Self::Stopped => '○',
            Self::Unknown => '?',
            Self::Working => '◌',
        }
    }
}

/// A shape with its word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marked {
    /// The shape.
    pub(crate) mark: Mark,
    /// The word.
    pub(crate) word: String,
}

fn marked(mark: Mark, word: impl Into<String>) -> Marked {
    Marked {
        mark,
        word: word.into(),
    }
}

/// A verdict on a ledger.
pub(crate) fn health(state: &api::HealthState) -> Marked {
    use api::HealthState as H;
    let mark = match state {
        H::Starting => Mark::Working,
        H::Healthy => Mark::Healthy,
        H::Degraded => Mark::Degraded,
        H::Broken => Mark::Broken,
        H::Unknown => Mark::Unknown,
        H::Stopped => Mark::Stopped,
    };
    marked(mark, state.as_str())
}

/// A cluster: what is being done with it, and when nothing is, its ledger's verdict.
pub(crate) fn cluster(cluster: &api::Cluster) -> Marked {
    use api::ClusterState as S;
    match cluster.state {
        S::Creating | S::Resetting | S::Deleting => marked(Mark::Working, cluster.state.as_str()),
        S::Failed => marked(Mark::Broken, "failed"),
        S::Stopped => marked(Mark::Stopped, "stopped"),
        S::Ready => health(&cluster.health.state),
    }
}

/// A host.
pub(crate) fn host(state: &api::HostState) -> Marked {
    let mark = match state {
        api::HostState::Active => Mark::Healthy,
        api::HostState::Unreachable => Mark::Broken,
        api::HostState::Paused => Mark::Degraded,
    };
    marked(mark, state.as_str())
}

/// A host in the state of the whole: one that answers but has problems is not well.
pub(crate) fn host_status(host_status: &api::HostStatus) -> Marked {
    if host_status.state == api::HostState::Active && !host_status.problems.is_empty() {
        return marked(Mark::Degraded, "active");
    }
    host(&host_status.state)
}

/// An operation.
pub(crate) fn operation(state: &api::OperationState) -> Marked {
    use api::OperationState as S;
    let mark = match state {
        S::Queued | S::Running => Mark::Working,
        S::Succeeded => Mark::Healthy,
        S::Failed => Mark::Broken,
        S::Superseded => Mark::Stopped,
    };
    marked(mark, state.as_str())
}

/// A step of an operation.
pub(crate) fn step(state: &api::StepState) -> Marked {
    use api::StepState as S;
    let mark = match state {
        S::Pending => Mark::Stopped,
        S::Started => Mark::Working,
        S::Done => Mark::Healthy,
        S::Failed => Mark::Broken,
    };
    marked(mark, state.as_str())
}

/// A lease.
pub(crate) fn lease(state: &api::LeaseState) -> Marked {
    use api::LeaseState as S;
    match state {
        S::Active => marked(Mark::Healthy, "active"),
        S::Released => marked(Mark::Stopped, "released"),
        S::Expired => marked(Mark::Stopped, "expired"),
        S::Revoked => marked(Mark::Degraded, "revoked"),
        S::HostLost => marked(Mark::Broken, "host lost"),
    }
}

/// A node, by what was last seen of it.
pub(crate) fn node(evidence: &api::NodeEvidence) -> Marked {
    let mark = match evidence.process.as_str() {
        "running"
            if evidence.answers
                && evidence.catching_up != Some(true)
                && evidence.unable.is_none()
                && evidence.closed_to_users.is_none() =>
        {
            Mark::Healthy
        }
        "running" => Mark::Degraded,
        "created" | "restarting" => Mark::Working,
        "" | "unknown" => Mark::Unknown,
        _ => Mark::Broken,
    };
    marked(
        mark,
        if evidence.process.is_empty() {
            "unknown"
        } else {
            evidence.process.as_str()
        },
    )
}

/// A machine of a host.
pub(crate) fn machine(machine: &api::HostMachine) -> Marked {
    if machine.closed.is_none() {
        marked(Mark::Healthy, "open")
    } else {
        marked(Mark::Degraded, "closed")
    }
}

/// A node of which nothing was seen yet.
pub(crate) fn unseen() -> Marked {
    marked(Mark::Unknown, "not seen")
}

/// Something that is wrong, though nothing is broken by it yet.
pub(crate) fn problem() -> Marked {
    marked(Mark::Degraded, "problem")
}

/// Something that waits for somebody to look.
pub(crate) fn paused() -> Marked {
    marked(Mark::Degraded, "paused")
}

/// Something that is well or is not.
pub(crate) fn sound(well: &bool) -> Marked {
    if *well {
        marked(Mark::Healthy, "sound")
    } else {
        marked(Mark::Broken, "not sound")
    }
}

/// The worst of a pool, for the tab.
pub(crate) fn pool(counts: &api::Counts) -> Marked {
    let (mark, count, word) = match counts {
        c if c.broken > 0 => (Mark::Broken, c.broken, "broken"),
        c if c.failed > 0 => (Mark::Broken, c.failed, "failed"),
        c if c.degraded > 0 => (Mark::Degraded, c.degraded, "degraded"),
        c if c.unknown > 0 => (Mark::Unknown, c.unknown, "unknown"),
        c if c.making > 0 => (Mark::Working, c.making, "being made"),
        c if c.healthy > 0 => (Mark::Healthy, c.healthy, "healthy"),
        c if c.stopped > 0 => (Mark::Stopped, c.stopped, "stopped"),
        _ => return marked(Mark::Stopped, "empty"),
    };
    marked(mark, format!("{count} {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_named_first() {
        let counts = api::Counts {
            healthy: 37,
            degraded: 2,
            broken: 1,
            ..api::Counts::default()
        };
        assert_eq!(pool(&counts), marked(Mark::Broken, "1 broken"));
        assert_eq!(
            pool(&api::Counts {
                healthy: 3,
                ..api::Counts::default()
            })
            .word,
            "3 healthy"
        );
        assert_eq!(pool(&api::Counts::default()).mark, Mark::Stopped);
    }

    #[test]
    fn a_node_that_runs_without_answering_is_not_well() {
        let silent = api::NodeEvidence {
            process: "running".into(),
            ..api::NodeEvidence::default()
        };
        assert_eq!(node(&silent).mark, Mark::Degraded);
        let answers = api::NodeEvidence {
            answers: true,
            ..silent
        };
        assert_eq!(node(&answers).mark, Mark::Healthy);
        let unable = api::NodeEvidence {
            unable: Some("couchdb: refused".into()),
            ..answers.clone()
        };
        assert_eq!(node(&unable).mark, Mark::Degraded);
        let closed = api::NodeEvidence {
            closed_to_users: Some("no answer within 2 s".into()),
            ..answers
        };
        assert_eq!(node(&closed).mark, Mark::Degraded);
        let dead = api::NodeEvidence {
            process: "exited 137".into(),
            ..api::NodeEvidence::default()
        };
        assert_eq!(node(&dead).mark, Mark::Broken);
    }
}
