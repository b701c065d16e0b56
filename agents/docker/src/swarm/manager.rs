//! The managers of one swarm, and failover between them.

use crate::{
    DockerAgent,
    engine::{CALL, CallError, EngineAnswer},
};
use bollard::{Docker, errors::Error as Bollard, models::SwarmInfo};
use chainpool_agent::{Error, ImageRequest, Result};
use futures::{Stream, StreamExt, stream::FuturesUnordered};
use std::{
    collections::HashMap,
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// Time limit of finding the engine of a machine.
const INFO: Duration = Duration::from_secs(2);

/// One swarm, by its managers.
pub(crate) struct Swarm {
    members: Vec<DockerAgent>,
    /// The image of the programs that place files on machines.
    pub(super) tools: ImageRequest,
    chosen: Mutex<Chosen>,
    /// Last known addresses of nodes by service name, for connections to their ports.
    pub(super) locations: Mutex<HashMap<String, (Instant, String)>>,
}

/// The manager in use.
#[derive(Default)]
struct Chosen {
    /// The last working member.
    member: usize,
    /// The member last verified as a manager of the swarm.
    checked: Option<usize>,
    /// The swarm's id, once known.
    swarm: Option<String>,
}

/// One manager, during one verb.
#[derive(Clone, Copy)]
pub(super) struct Manager<'x> {
    pub(super) swarm: &'x Swarm,
    /// The agent of its engine.
    pub(super) agent: &'x DockerAgent,
}

/// Errors of an engine that is no manager now or has lost the quorum. Another manager may work.
const NO_QUORUM: [&str; 5] = [
    "does not have a leader",
    "not a swarm manager",
    "not part of a swarm",
    "code = DeadlineExceeded",
    "code = Unavailable",
];

impl Swarm {
    pub(super) fn new(members: Vec<DockerAgent>, tools: ImageRequest) -> Self {
        Self {
            members,
            tools,
            chosen: Mutex::default(),
            locations: Mutex::default(),
        }
    }

    /// All engines with direct access.
    pub(super) fn members(&self) -> &[DockerAgent] {
        &self.members
    }

    /// The member that worked last.
    pub(super) fn member(&self) -> usize {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner).member
    }

    /// Runs a verb with the manager that worked last, and with the next ones while managers are unresponsive.
    pub(super) async fn through<'x, T, F: Future<Output = Result<T>>>(
        &'x self,
        verb: impl Fn(Manager<'x>) -> F,
    ) -> Result<T> {
        let first = self.member();
        let mut unresponsive = Vec::new();
        for turn in 0..self.members.len() {
            let member = (first + turn) % self.members.len();
            let result = match self.manager(member).await {
                Ok(manager) => verb(manager).await,
                Err(error) => Err(error),
            };
            match result {
                Err(Error::Unreachable(text)) => unresponsive.push(text),
                result => {
                    self.chosen.lock().unwrap_or_else(PoisonError::into_inner).member = member;
                    return result;
                }
            }
        }
        let why = unresponsive.join("; ");
        // Engines that answer but have no swarm are electing a leader, or wait for the other managers.
        Err(if self.answers().await {
            Error::Busy(why)
        } else {
            Error::Unreachable(why)
        })
    }

    /// Returns true if any engine answers.
    async fn answers(&self) -> bool {
        pin!(self.infos()).next().await.is_some()
    }

    /// The swarm info of the engines in the address list, in the order of their answers.
    fn infos(&self) -> impl Stream<Item = (SwarmInfo, &DockerAgent)> {
        let asked = self
            .members
            .iter()
            .map(async |member| Some((info(member).await.ok()?, member)));
        asked
            .collect::<FuturesUnordered<_>>()
            .filter_map(std::future::ready)
    }

    /// A verified manager of this swarm. Verified again after each change of the manager.
    async fn manager(&self, member: usize) -> Result<Manager<'_>> {
        let manager = Manager {
            swarm: self,
            agent: &self.members[member],
        };
        if self.chosen.lock().unwrap_or_else(PoisonError::into_inner).checked == Some(member) {
            return Ok(manager);
        }
        let address = manager.agent.engine.address();
        let info = info(manager.agent).await?;
        // A manager that has just started, or has lost the quorum, reports no swarm.
        let id = info
            .cluster
            .filter(|_| info.control_available == Some(true))
            .and_then(|cluster| cluster.id);
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return Err(Error::Unreachable(format!(
                "{address} is not a manager of a swarm at present: put managers into the host's address"
            )));
        };
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        match &chosen.swarm {
            Some(known) if *known != id => Err(Error::Refused(format!(
                "{address} is a manager of another swarm ({id}), not of {known}: correct the host's address"
            ))),
            _ => {
                chosen.swarm = Some(id);
                chosen.checked = Some(member);
                Ok(manager)
            }
        }
    }
}

impl Manager<'_> {
    pub(super) async fn docker(&self) -> Result<Docker> {
        self.agent.engine.docker().await
    }

    /// Waits for a call to this manager, up to the time limit of a call.
    pub(super) async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, Bollard>> + Send,
    ) -> Result<T, CallError> {
        self.call_within(CALL, call).await
    }

    pub(super) async fn call_within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, Bollard>> + Send,
    ) -> Result<T, CallError> {
        self.agent
            .engine
            .call(limit, call)
            .await
            .map_err(|fault| match fault {
                CallError::Answer(EngineAnswer { message, .. })
                    if NO_QUORUM.iter().any(|text| message.contains(text)) =>
                {
                    CallError::Other(Error::Unreachable(format!(
                        "{}: {message}",
                        self.agent.engine.address()
                    )))
                }
                fault => fault,
            })
    }

    /// The engine of a machine, if it is in the address list and answers in time.
    pub(super) async fn engine_of(&self, machine: &str) -> Option<&DockerAgent> {
        let is_machine = |(info, member): (SwarmInfo, _)| {
            std::future::ready((info.node_id.as_deref() == Some(machine)).then_some(member))
        };
        let mut found = pin!(self.swarm.infos().filter_map(is_machine));
        timeout(INFO, found.next()).await.ok().flatten()
    }

    /// The engines of the address list that answer, by the swarm's id of their machine.
    pub(super) async fn reachable_engines(&self) -> HashMap<String, &DockerAgent> {
        self.swarm
            .infos()
            .filter_map(async |(info, member)| Some((info.node_id?, member)))
            .collect()
            .await
    }
}

/// The swarm info of an engine.
async fn info(member: &DockerAgent) -> Result<SwarmInfo> {
    let docker = member.engine.docker().await?;
    let info = member
        .engine
        .call(CALL, docker.info())
        .await
        .map_err(|f| f.into_error("report its state"))?;
    Ok(info.swarm.unwrap_or_default())
}
