//! Probe of the engine.

use crate::{DOCKER, DockerAgent, SWARM, engine::CALL};
use bollard::models::{LocalNodeState, SwarmInfo, SystemInfo};
use chainpool_agent::{Error, PlatformKind, Probe, Result, SwarmRole};
use std::{path::PathBuf, time::SystemTime};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

impl DockerAgent {
    pub(crate) async fn engine_probe(&self) -> Result<Probe> {
        let docker = self.engine.docker().await?;
        let version = self
            .engine
            .call(CALL, docker.version())
            .await
            .map_err(|f| f.into_error("report its version"))?;
        let asked = OffsetDateTime::from(SystemTime::now());
        let info = self
            .engine
            .call(CALL, docker.info())
            .await
            .map_err(|f| f.into_error("report its state"))?;
        let answered = OffsetDateTime::from(SystemTime::now());
        let (kind, swarm) = role(info.swarm.as_ref());
        let Some(engine_id) = info.id.clone().filter(|id| !id.is_empty()) else {
            return Err(Error::Refused(format!(
                "the engine at {} has no ID: Chainpool needs one to identify engines",
                self.engine.address()
            )));
        };
        Ok(Probe {
            kind,
            engine_id,
            name: info.name.clone().unwrap_or_default(),
            version: version.version.unwrap_or_default(),
            api_version: docker.client_version().to_string(),
            storage_driver: info.driver.clone().unwrap_or_default(),
            architecture: version
                .arch
                .or_else(|| info.architecture.clone())
                .unwrap_or_default(),
            swarm,
            cpus: count(info.ncpu),
            memory_bytes: info
                .mem_total
                .and_then(|m| u64::try_from(m).ok())
                .unwrap_or_default(),
            disk: self.disk(&info).await,
            skew_ms: skew(&info, asked, answered),
            machines: Vec::new(),
        })
    }

    /// Free and total bytes of the engine's data directory; known if the engine is local.
    async fn disk(&self, info: &SystemInfo) -> Option<(u64, u64)> {
        let path = info
            .docker_root_dir
            .as_deref()
            .filter(|_| self.engine.address().is_local())
            .map(PathBuf::from)?;
        // A network file system may hang: do not block a worker thread.
        let reading = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&path));
        let stat = tokio::time::timeout(CALL, reading).await.ok()?.ok()?.ok()?;
        Some((
            stat.f_bavail.saturating_mul(stat.f_frsize),
            stat.f_blocks.saturating_mul(stat.f_frsize),
        ))
    }
}

/// A manager represents a swarm; anything else is a single engine.
fn role(swarm: Option<&SwarmInfo>) -> (PlatformKind, SwarmRole) {
    let member = |s: &SwarmInfo| {
        !matches!(
            s.local_node_state,
            None | Some(LocalNodeState::EMPTY | LocalNodeState::INACTIVE)
        )
    };
    match swarm {
        Some(s) if s.control_available == Some(true) => (SWARM, SwarmRole::Manager),
        Some(s) if member(s) => (DOCKER, SwarmRole::Worker),
        _ => (DOCKER, SwarmRole::None),
    }
}

/// The engine's clock minus ours, assuming its time is from half-way between request and response.
fn skew(info: &SystemInfo, asked: OffsetDateTime, answered: OffsetDateTime) -> Option<i64> {
    let theirs = OffsetDateTime::parse(info.system_time.as_deref()?, &Rfc3339).ok()?;
    let ours: OffsetDateTime = asked + (answered - asked) / 2;
    let skew: time::Duration = theirs - ours;
    i64::try_from(skew.whole_milliseconds()).ok()
}

pub(crate) fn count(number: Option<i64>) -> u32 {
    number.and_then(|n| u32::try_from(n).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn skew_allows_for_the_round_trip() {
        let info = SystemInfo {
            system_time: Some("2026-01-01T00:00:05.5+00:00".into()),
            ..SystemInfo::default()
        };
        assert_eq!(
            skew(
                &info,
                datetime!(2026-01-01 00:00:00 UTC),
                datetime!(2026-01-01 00:00:01 UTC)
            ),
            Some(5000)
        );
        assert_eq!(
            skew(
                &SystemInfo::default(),
                datetime!(2026-01-01 00:00:00 UTC),
                datetime!(2026-01-01 00:00:00 UTC)
            ),
            None
        );
    }

    #[test]
    fn only_a_manager_is_a_swarm() {
        let info = |state, control| SwarmInfo {
            local_node_state: Some(state),
            control_available: Some(control),
            ..SwarmInfo::default()
        };
        assert_eq!(
            role(Some(&info(LocalNodeState::ACTIVE, true))),
            (SWARM, SwarmRole::Manager)
        );
        assert_eq!(
            role(Some(&info(LocalNodeState::ACTIVE, false))),
            (DOCKER, SwarmRole::Worker)
        );
        assert_eq!(
            role(Some(&info(LocalNodeState::INACTIVE, false))),
            (DOCKER, SwarmRole::None)
        );
        assert_eq!(role(None), (DOCKER, SwarmRole::None));
    }
}
