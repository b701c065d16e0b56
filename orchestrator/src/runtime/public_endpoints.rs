//! The addresses at which the users of a host's clusters reach them.

use chainpool_networks::PublicEndpoints;
use chainpool_store::HostRow;

/// The public endpoints of a host's clusters.
pub(crate) fn public_endpoints(host: &HostRow) -> PublicEndpoints {
    let settings = &host.settings.0;
    let loopback = settings.bind.is_loopback();
    let address = if loopback {
        "127.0.0.1".to_owned()
    } else {
        settings.public_address.clone()
    };
    let known = host
        .info
        .iter()
        .filter(|_| !loopback)
        .flat_map(|info| &info.0.machines);
    PublicEndpoints {
        address,
        loopback,
        machines: known
            .map(|machine| (machine.id.clone(), machine.address.clone()))
            .collect(),
    }
}
