//! Status badges: one of six shapes and a label. The same everywhere: table, map, tab icon, title.

#![expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "templates pass every value by reference"
)]

use chainpool_api::{self as api, ProcessState};

/// A shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Indicator {
    /// ● healthy.
    Healthy,
    /// ◐ works with problems.
    Degraded,
    /// ▲ needs attention.
    Broken,
    /// ○ stopped.
    Stopped,
    /// ? state unknown.
    Unknown,
    /// ◌ in progress.
    Working,
}

impl Indicator {
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

/// A shape with its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatusBadge {
    /// The shape.
    pub(crate) indicator: Indicator,
    /// The label.
    pub(crate) label: String,
}

fn badge(indicator: Indicator, label: impl Into<String>) -> StatusBadge {
    StatusBadge {
        indicator,
        label: label.into(),
    }
}

/// The health of a ledger.
pub(crate) fn health(state: &api::HealthState) -> StatusBadge {
    use api::HealthState as H;
    let indicator = match state {
        H::Starting => Indicator::Working,
        H::Healthy => Indicator::Healthy,
        H::Degraded => Indicator::Degraded,
        H::Broken => Indicator::Broken,
        H::Unknown => Indicator::Unknown,
        H::Stopped => Indicator::Stopped,
    };
    badge(indicator, state.as_str())
}

/// A cluster: its state, or the health of its ledger if it is ready.
pub(crate) fn cluster(cluster: &api::Cluster) -> StatusBadge {
    use api::ClusterState as S;
    match cluster.state {
        S::Creating | S::Resetting | S::Deleting => badge(Indicator::Working, cluster.state.as_str()),
        S::Failed => badge(Indicator::Broken, "failed"),
        S::Stopped => badge(Indicator::Stopped, "stopped"),
        S::Ready => health(&cluster.health.state),
    }
}

/// A host.
pub(crate) fn host(state: &api::HostState) -> StatusBadge {
    let indicator = match state {
        api::HostState::Active => Indicator::Healthy,
        api::HostState::Unreachable => Indicator::Broken,
        api::HostState::Paused => Indicator::Degraded,
    };
    badge(indicator, state.as_str())
}

/// A host on the status page: degraded if it is active but has problems.
pub(crate) fn host_status(host_status: &api::HostStatus) -> StatusBadge {
    if host_status.state == api::HostState::Active && !host_status.problems.is_empty() {
        return badge(Indicator::Degraded, "active");
    }
    host(&host_status.state)
}

/// An operation.
pub(crate) fn operation(state: &api::OperationState) -> StatusBadge {
    use api::OperationState as S;
    let indicator = match state {
        S::Queued | S::Running => Indicator::Working,
        S::Succeeded => Indicator::Healthy,
        S::Failed => Indicator::Broken,
        S::Superseded => Indicator::Stopped,
    };
    badge(indicator, state.as_str())
}

/// A step of an operation.
pub(crate) fn step(state: &api::StepState) -> StatusBadge {
    use api::StepState as S;
    let indicator = match state {
        S::Pending => Indicator::Stopped,
        S::Started => Indicator::Working,
        S::Done => Indicator::Healthy,
        S::Failed => Indicator::Broken,
    };
    badge(indicator, state.as_str())
}

/// A lease.
pub(crate) fn lease(state: &api::LeaseState) -> StatusBadge {
    use api::LeaseState as S;
    match state {
        S::Active => badge(Indicator::Healthy, "active"),
        S::Released => badge(Indicator::Stopped, "released"),
        S::Expired => badge(Indicator::Stopped, "expired"),
        S::Revoked => badge(Indicator::Degraded, "revoked"),
        S::HostLost => badge(Indicator::Broken, "host lost"),
    }
}

/// A node, by its last observation.
pub(crate) fn node(evidence: &api::NodeEvidence) -> StatusBadge {
    let indicator = match &evidence.process {
        ProcessState::Running
            if evidence.answers
                && evidence.catching_up != Some(true)
                && evidence.unable.is_none()
                && evidence.closed_to_users.is_none() =>
        {
            Indicator::Healthy
        }
        ProcessState::Running | ProcessState::Unready => Indicator::Degraded,
        ProcessState::Created => Indicator::Working,
        ProcessState::Changing(how) if how == "restarting" => Indicator::Working,
        ProcessState::Unknown => Indicator::Unknown,
        _ => Indicator::Broken,
    };
    badge(indicator, evidence.process.to_string())
}

/// An assessment of a row, node or edge that a network type describes, with this label.
pub(crate) fn mark(mark: &api::Mark, label: &str) -> StatusBadge {
    let indicator = match mark {
        api::Mark::None => Indicator::Unknown,
        api::Mark::Ok => Indicator::Healthy,
        api::Mark::Attention => Indicator::Degraded,
        api::Mark::Problem => Indicator::Broken,
    };
    badge(indicator, label)
}

/// A machine of a host.
pub(crate) fn machine(machine: &api::HostMachine) -> StatusBadge {
    if machine.closed.is_none() {
        badge(Indicator::Healthy, "schedulable")
    } else {
        badge(Indicator::Degraded, "unschedulable")
    }
}

/// A node without an observation.
pub(crate) fn unobserved() -> StatusBadge {
    badge(Indicator::Unknown, "not observed")
}

/// A problem that breaks nothing yet.
pub(crate) fn problem() -> StatusBadge {
    badge(Indicator::Degraded, "problem")
}

/// A paused fill policy entry.
pub(crate) fn paused() -> StatusBadge {
    badge(Indicator::Degraded, "paused")
}

/// The health of the database.
pub(crate) fn database(ok: &bool) -> StatusBadge {
    if *ok {
        badge(Indicator::Healthy, "healthy")
    } else {
        badge(Indicator::Broken, "unhealthy")
    }
}

/// The worst state of a pool, for the tab.
pub(crate) fn pool(counts: &api::Counts) -> StatusBadge {
    let (indicator, count, label) = match counts {
        c if c.broken > 0 => (Indicator::Broken, c.broken, "broken"),
        c if c.failed > 0 => (Indicator::Broken, c.failed, "failed"),
        c if c.degraded > 0 => (Indicator::Degraded, c.degraded, "degraded"),
        c if c.unknown > 0 => (Indicator::Unknown, c.unknown, "unknown"),
        c if c.making > 0 => (Indicator::Working, c.making, "creating"),
        c if c.healthy > 0 => (Indicator::Healthy, c.healthy, "healthy"),
        c if c.stopped > 0 => (Indicator::Stopped, c.stopped, "stopped"),
        _ => return badge(Indicator::Stopped, "empty"),
    };
    badge(indicator, format!("{count} {label}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_state_comes_first() {
        let counts = api::Counts {
            healthy: 37,
            degraded: 2,
            broken: 1,
            ..api::Counts::default()
        };
        assert_eq!(pool(&counts), badge(Indicator::Broken, "1 broken"));
        assert_eq!(
            pool(&api::Counts {
                healthy: 3,
                ..api::Counts::default()
            })
            .label,
            "3 healthy"
        );
        assert_eq!(pool(&api::Counts::default()).indicator, Indicator::Stopped);
    }

    #[test]
    fn a_running_but_unresponsive_node_is_degraded() {
        let unresponsive = api::NodeEvidence {
            process: ProcessState::Running,
            ..api::NodeEvidence::default()
        };
        assert_eq!(node(&unresponsive).indicator, Indicator::Degraded);
        let answers = api::NodeEvidence {
            answers: true,
            ..unresponsive
        };
        assert_eq!(node(&answers).indicator, Indicator::Healthy);
        let unable = api::NodeEvidence {
            unable: Some("couchdb: refused".into()),
            ..answers.clone()
        };
        assert_eq!(node(&unable).indicator, Indicator::Degraded);
        let closed = api::NodeEvidence {
            closed_to_users: Some("no answer within 2 s".into()),
            ..answers
        };
        assert_eq!(node(&closed).indicator, Indicator::Degraded);
        let dead = api::NodeEvidence {
            process: ProcessState::Exited(137),
            ..api::NodeEvidence::default()
        };
        assert_eq!(node(&dead).indicator, Indicator::Broken);
    }
}
