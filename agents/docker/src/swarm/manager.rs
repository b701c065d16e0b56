//! The managers of one swarm, and the way from one to the next.

use crate::{
    DockerAgent,
    engine::{CALL, Fault},
};
use bollard::{Docker, errors::Error as Bollard, models::SwarmInfo};
use chainpool_agent::{Error, Result};
use futures::{Stream, StreamExt, stream::FuturesUnordered};
use std::{
    collections::HashMap,
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// How long an engine that can be spoken to has to say which machine it is.
const AT_ONCE: Duration = Duration::from_secs(2);

/// One swarm, by its managers.
pub(crate) struct Swarm {
    members: Vec<DockerAgent>,
    chosen: Mutex<Chosen>,
    /// Where nodes were last known to be, by the names of their services, for connections to their ports.
    pub(super) places: Mutex<HashMap<String, (Instant, String)>>,
}

/// Which manager is spoken to.
#[derive(Default)]
struct Chosen {
    /// The one that worked last.
    member: usize,
    /// The one that was last seen to speak for the swarm.
    checked: Option<usize>,
    /// The swarm's id, once known.
    swarm: Option<String>,
}

/// One manager, during one verb.
#[derive(Clone, Copy)]
pub(super) struct Manager<'x> {
    pub(super) swarm: &'x Swarm,
    /// The engine that it is.
    pub(super) hands: &'x DockerAgent,
}

/// What managers say that are none at the moment, or cannot reach the others. Another one may do.
const POWERLESS: [&str; 5] = [
    "does not have a leader",
    "not a swarm manager",
    "not part of a swarm",
    "code = DeadlineExceeded",
    "code = Unavailable",
];

impl Swarm {
    pub(super) fn new(members: Vec<DockerAgent>) -> Self {
        Self {
            members,
            chosen: Mutex::default(),
            places: Mutex::default(),
        }
    }

    /// Every engine that can be spoken to directly.
    pub(super) fn members(&self) -> &[DockerAgent] {
        &self.members
    }

    /// The member that worked last.
    pub(super) fn member(&self) -> usize {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner).member
    }

    /// Does a verb with the manager that worked last, and with the next ones while it is silent.
    pub(super) async fn through<'x, T, F: Future<Output = Result<T>>>(
        &'x self,
        verb: impl Fn(Manager<'x>) -> F,
    ) -> Result<T> {
        let first = self.member();
        let mut silent = Vec::new();
        for turn in 0..self.members.len() {
            let member = (first + turn) % self.members.len();
            let result = match self.manager(member).await {
                Ok(manager) => verb(manager).await,
                Err(error) => Err(error),
            };
            match result {
                Err(Error::Unreachable(text)) => silent.push(text),
                result => {
                    self.chosen.lock().unwrap_or_else(PoisonError::into_inner).member = member;
                    return result;
                }
            }
        }
        let why = silent.join("; ");
        // Engines that answer but speak for no swarm now are choosing a leader, or wait for the other managers.
        Err(if self.answers().await {
            Error::Busy(why)
        } else {
            Error::Unreachable(why)
        })
    }

    /// Whether any of the engines answers.
    async fn answers(&self) -> bool {
        pin!(self.infos()).next().await.is_some()
    }

    /// What the engines of the address list say of themselves, those that answer, as they answer.
    fn infos(&self) -> impl Stream<Item = (SwarmInfo, &DockerAgent)> {
        let asked = self
            .members
            .iter()
            .map(async |member| Some((info(member).await.ok()?, member)));
        asked
            .collect::<FuturesUnordered<_>>()
            .filter_map(std::future::ready)
    }

    /// A manager that is known to speak for this swarm: after each change it is asked.
    async fn manager(&self, member: usize) -> Result<Manager<'_>> {
        let manager = Manager {
            swarm: self,
            hands: &self.members[member],
        };
        if self.chosen.lock().unwrap_or_else(PoisonError::into_inner).checked == Some(member) {
            return Ok(manager);
        }
        let address = manager.hands.engine.address();
        let info = info(manager.hands).await?;
        // A manager that has just started, or has lost the others, names no swarm.
        let id = info
            .cluster
            .filter(|_| info.control_available == Some(true))
            .and_then(|cluster| cluster.id);
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return Err(Error::Unreachable(format!(
                "{address} speaks for no swarm at present: name the managers in the host's address"
            )));
        };
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        match &chosen.swarm {
            Some(known) if *known != id => Err(Error::Refused(format!(
                "{address} is a manager of another swarm ({id}) than the one worked with before ({known}): correct the host's address"
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
        self.hands.engine.docker().await
    }

    /// Waits for a call to this manager, within the limit of a call.
    pub(super) async fn call<T>(&self, call: impl Future<Output = Result<T, Bollard>>) -> Result<T, Fault> {
        self.call_within(CALL, call).await
    }

    pub(super) async fn call_within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, Bollard>>,
    ) -> Result<T, Fault> {
        self.hands
            .engine
            .call(limit, call)
            .await
            .map_err(|fault| match fault {
                Fault::Answer { message, .. } if POWERLESS.iter().any(|words| message.contains(words)) => {
                    Fault::Error(Error::Unreachable(format!(
                        "{}: {message}",
                        self.hands.engine.address()
                    )))
                }
                fault => fault,
            })
    }

    /// The engine of a machine, if the address list has it and it answers at once.
    pub(super) async fn engine_of(&self, machine: &str) -> Option<&DockerAgent> {
        let is_there = |(info, member): (SwarmInfo, _)| {
            std::future::ready((info.node_id.as_deref() == Some(machine)).then_some(member))
        };
        let mut found = pin!(self.swarm.infos().filter_map(is_there));
        timeout(AT_ONCE, found.next()).await.ok().flatten()
    }

    /// The engines of the address list that answer, by the swarm's id of their machine.
    pub(super) async fn reached(&self) -> HashMap<String, &DockerAgent> {
        self.swarm
            .infos()
            .filter_map(async |(info, member)| Some((info.node_id?, member)))
            .collect()
            .await
    }
}

/// What an engine says of its part in a swarm.
async fn info(member: &DockerAgent) -> Result<SwarmInfo> {
    let docker = member.engine.docker().await?;
    let info = member
        .engine
        .call(CALL, docker.info())
        .await
        .map_err(|f| f.into_error("tell of itself"))?;
    Ok(info.swarm.unwrap_or_default())
}
