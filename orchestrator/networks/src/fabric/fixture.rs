//! Rendered and changed networks for tests.

use crate::{
    Amendment, ParameterErrors, PreviousChange, PublicEndpoints, RenderRequest, Seed,
    fabric::{
        amend::amend,
        parameters::Parameters,
        render::{self, requirements},
    },
};
use chainpool_agent::{ClusterSpec, LogConfig, NetworkSpec};
use chainpool_api::{LogLevel, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;

/// Times of the first render and of changes, in seconds.
pub(crate) const THEN: i64 = 1_795_000_000;
pub(crate) const NOW: i64 = THEN + 100 * 86_400;

/// A render request.
pub(crate) fn request(parameters: &Parameters) -> RenderRequest {
    request_at(parameters, THEN)
}

/// A render request at another time.
pub(crate) fn request_at(parameters: &Parameters, seconds: i64) -> RenderRequest {
    RenderRequest {
        parameters: json!(parameters),
        chain_id: "cp-0123456789ab-1".to_owned(),
        genesis_at: Timestamp(seconds * 1000 + 123),
        network: NetworkSpec { subnet: None },
        ports: requirements::requirements(parameters)
            .ports
            .into_iter()
            .zip(20000..)
            .collect(),
        public_endpoints: PublicEndpoints {
            address: "192.0.2.7".to_owned(),
            loopback: false,
            machines: BTreeMap::new(),
        },
        images: BTreeMap::new(),
        log: LogConfig::default(),
        log_level: LogLevel::Info,
    }
}

/// A network rendered with a seed.
pub(crate) fn rendered(parameters: &Parameters, seed: u8) -> ClusterSpec {
    render::render(parameters, &request(parameters), &Seed::new([seed; 32]))
}

/// Changes parameters or renews certificates. Nodes keep their ports.
pub(crate) fn changed(
    spec: &ClusterSpec,
    parameters: &Parameters,
    renew: bool,
) -> Result<ClusterSpec, ParameterErrors> {
    changed_after(spec, parameters, renew, PreviousChange::Completed)
}

/// Changes a network after a previous change.
pub(crate) fn changed_after(
    spec: &ClusterSpec,
    parameters: &Parameters,
    renew: bool,
    previous: PreviousChange,
) -> Result<ClusterSpec, ParameterErrors> {
    let mut request = request_at(parameters, NOW);
    for (need, port) in &mut request.ports {
        let has = spec
            .node(&need.node)
            .and_then(|node| node.ports.iter().find(|port| port.name == need.port));
        *port = has.and_then(|port| port.published).unwrap_or(*port);
    }
    amend(
        spec,
        &Amendment {
            request,
            renew_certificates: renew,
            previous,
        },
        parameters,
        &Seed::new([2; 32]),
    )
}
