//! Networks as tests order, render and change them.

use super::{amend::amend, parameters::Parameters, render};
use crate::{Amendment, Before, Order, ParameterErrors, Reach, Seed};
use chainpool_agent::{ClusterSpec, LogConfig, NetworkSpec};
use chainpool_api::{LogLevel, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;

/// When networks are ordered, and when they are changed, in seconds.
pub(super) const THEN: i64 = 1_795_000_000;
pub(super) const NOW: i64 = THEN + 100 * 86_400;

/// The order of a network.
pub(super) fn order(parameters: &Parameters) -> Order {
    order_at(parameters, THEN)
}

/// The same at another time.
pub(super) fn order_at(parameters: &Parameters, seconds: i64) -> Order {
    Order {
        parameters: json!(parameters),
        chain_id: "cp-0123456789ab-1".to_owned(),
        genesis_at: Timestamp(seconds * 1000 + 123),
        network: NetworkSpec { subnet: None },
        ports: render::layout(parameters)
            .ports
            .into_iter()
            .zip(20000..)
            .collect(),
        reach: Reach {
            address: "192.0.2.7".to_owned(),
            loopback: false,
            machines: BTreeMap::new(),
        },
        images: BTreeMap::new(),
        log: LogConfig::default(),
        log_level: LogLevel::Info,
    }
}

/// A network of a seed.
pub(super) fn rendered(parameters: &Parameters, seed: u8) -> ClusterSpec {
    render::render(parameters, &order(parameters), &Seed::new([seed; 32]))
}

/// The same with other parameters, or new certificates. Nodes keep the ports that they have.
pub(super) fn changed(
    spec: &ClusterSpec,
    parameters: &Parameters,
    renew: bool,
) -> Result<ClusterSpec, ParameterErrors> {
    changed_after(spec, parameters, renew, Before::Ended)
}

/// The same after another change.
pub(super) fn changed_after(
    spec: &ClusterSpec,
    parameters: &Parameters,
    renew: bool,
    before: Before,
) -> Result<ClusterSpec, ParameterErrors> {
    let mut order = order_at(parameters, NOW);
    for (need, port) in &mut order.ports {
        let has = spec
            .node(&need.node)
            .and_then(|node| node.ports.iter().find(|port| port.name == need.port));
        *port = has.and_then(|port| port.published).unwrap_or(*port);
    }
    amend(
        spec,
        &Amendment {
            order,
            renew_certificates: renew,
            before,
        },
        parameters,
        &Seed::new([2; 32]),
    )
}
