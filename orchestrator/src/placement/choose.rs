//! Choice of a host, machines, ports, a subnet and a fill entry. Pure.

use chainpool_agent::NodeName;
use chainpool_api::{Fill, HostMachine};
use chainpool_networks::PortNeed;
use ipnet::Ipv4Net;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};
use uuid::Uuid;

/// The prefix of a cluster's network, unless it needs a larger one.
const SUBNET_PREFIX: u8 = 26;
/// Reserved addresses of a network: network, gateway, broadcast.
const NO_NODES: u32 = 3;

/// Assigns the lowest free ports. `None` if the range has too few.
pub(crate) fn ports(
    range: (u16, u16),
    taken: &BTreeSet<u16>,
    needs: &[PortNeed],
) -> Option<BTreeMap<PortNeed, u16>> {
    let mut free = (range.0..=range.1).filter(|port| !taken.contains(port));
    needs
        .iter()
        .map(|need| free.next().map(|port| (need.clone(), port)))
        .collect()
}

/// The number of nodes that a network has addresses for. A swarm also uses one for each machine.
pub(crate) fn addresses(net: Ipv4Net, machines: u32) -> u32 {
    let all = 1u32
        .checked_shl(32 - u32::from(net.prefix_len()))
        .unwrap_or(u32::MAX);
    all.saturating_sub(NO_NODES + machines)
}

/// The lowest free network with enough addresses, a /26 or larger. `None` if the range has none left.
pub(crate) fn subnet(
    range: Ipv4Net,
    taken: &BTreeSet<Ipv4Net>,
    (nodes, machines): (u32, u32),
) -> Option<Ipv4Net> {
    let mut prefixes = (range.prefix_len()..=SUBNET_PREFIX.max(range.prefix_len())).rev();
    let prefix = prefixes.find(|prefix| {
        Ipv4Net::new(range.network(), *prefix).is_ok_and(|net| addresses(net, machines) >= nodes)
    })?;
    range.subnets(prefix).ok()?.find(|net| {
        !taken
            .iter()
            .any(|other| other.contains(net) || net.contains(other))
    })
}

/// Chooses machines for a cluster's nodes and jobs: the previous ones if all are available, otherwise spread
/// over the available ones. If no machine is available, the nodes keep their machines and the operation
/// waits: a new swarm leader considers every machine down until it has reported. `None` if there were no
/// previous machines. `load` counts the nodes on each machine by id.
pub(crate) fn machines(
    nodes: &[NodeName],
    known: &[HostMachine],
    had: &BTreeMap<NodeName, String>,
    load: &BTreeMap<String, u32>,
    colocated: &BTreeMap<NodeName, NodeName>,
) -> Option<BTreeMap<NodeName, String>> {
    let open: BTreeSet<&String> = known
        .iter()
        .filter(|machine| machine.closed.is_none())
        .map(|machine| &machine.id)
        .collect();
    let complete = !nodes.is_empty() && nodes.iter().all(|node| had.contains_key(node));
    let stays = complete && (open.is_empty() || nodes.iter().all(|node| open.contains(&had[node])));
    // Other nodes stay where they are.
    let beside = had
        .iter()
        .filter(|(node, _)| !nodes.contains(node))
        .map(|(_, machine)| machine);
    if stays {
        return Some(had.clone());
    }
    let (with_another, alone): (Vec<&NodeName>, Vec<&NodeName>) =
        nodes.iter().partition(|node| colocated.contains_key(*node));
    let mut chosen = spread(&alone, &open, beside, load)?;
    for node in with_another {
        let other = &colocated[node];
        let machine = chosen.get(other).or_else(|| had.get(other))?.clone();
        chosen.insert(node.clone(), machine);
    }
    Some(chosen)
}

/// Places each node on the machine with the fewest nodes of its cluster, then with the fewest nodes, then the
/// first by id.
fn spread<'a>(
    nodes: &[&NodeName],
    open: &BTreeSet<&'a String>,
    beside: impl Iterator<Item = &'a String>,
    load: &BTreeMap<String, u32>,
) -> Option<BTreeMap<NodeName, String>> {
    let mut own: BTreeMap<&String, u32> = BTreeMap::new();
    beside.for_each(|machine| *own.entry(machine).or_default() += 1);
    let mut chosen = BTreeMap::new();
    for &node in nodes {
        let best: &'a String = open.iter().copied().min_by_key(|id| {
            (
                own.get(*id).copied().unwrap_or(0),
                load.get(*id).copied().unwrap_or(0),
                *id,
            )
        })?;
        *own.entry(best).or_default() += 1;
        chosen.insert(node.clone(), best.clone());
    }
    Some(chosen)
}

/// A candidate host for a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Candidate<T> {
    pub(crate) host: T,
    /// The remaining capacity.
    pub(crate) room: i64,
    /// Set if memory and disk suffice for one more.
    pub(crate) fits: bool,
}

/// Returns the host with the most remaining capacity; the first of equals.
pub(crate) fn host<T>(candidates: Vec<Candidate<T>>) -> Option<T> {
    let mut fitting: Vec<_> = candidates.into_iter().filter(|c| c.room > 0 && c.fits).collect();
    fitting.sort_by_key(|candidate| -candidate.room);
    fitting.into_iter().next().map(|candidate| candidate.host)
}

/// Returns the fill entry with the largest deficit against its share of the capacity; the first of equals.
/// `have` counts the clusters of each entry. Paused entries are excluded.
pub(crate) fn fill_entry(
    fill: &[Fill],
    have: &BTreeMap<usize, u32>,
    capacity: u32,
    paused: &BTreeSet<usize>,
) -> Option<usize> {
    let shares = shares(fill);
    // Multiplied by the sum of shares to avoid rounding.
    let deficit = |place: usize| {
        let due = i128::from(capacity) * i128::from(fill[place].share);
        due - i128::from(have.get(&place).copied().unwrap_or(0)) * i128::from(shares)
    };
    let open = (0..fill.len()).filter(|place| !paused.contains(place) && fill[*place].share > 0);
    open.reduce(|best, place| {
        if deficit(place) > deficit(best) {
            place
        } else {
            best
        }
    })
}

/// Counts the clusters of each entry of a fill policy.
pub(crate) fn have(places: impl Iterator<Item = Option<usize>>) -> BTreeMap<usize, u32> {
    let mut have = BTreeMap::new();
    for place in places.flatten() {
        let count: &mut u32 = have.entry(place).or_default();
        *count = count.saturating_add(1);
    }
    have
}

/// A free cluster that may be deleted when a host exceeds its capacity.
#[derive(Debug, Clone)]
pub(crate) struct Free {
    pub(crate) id: Uuid,
    pub(crate) failed: bool,
    /// Its recipe is no longer in the fill policy.
    pub(crate) outdated: bool,
    /// Its fill entry.
    pub(crate) entry: Option<usize>,
    /// It was created on request.
    pub(crate) on_request: bool,
}

/// Chooses the clusters to delete: failed ones first, then outdated ones, then those of the entry furthest
/// above its share, and those created on request last; of equals the newest.
pub(crate) fn surplus(
    mut free: Vec<Free>,
    fill: &[Fill],
    mut have: BTreeMap<usize, u32>,
    capacity: u32,
    count: usize,
) -> Vec<Uuid> {
    let shares = shares(fill);
    let mut chosen = Vec::new();
    for _ in 0..count {
        let beyond = |entry: Option<usize>| {
            let Some(place) = entry else { return 0 };
            i128::from(have.get(&place).copied().unwrap_or(0)) * i128::from(shares)
                - i128::from(capacity) * i128::from(fill[place].share)
        };
        let first = |one: &Free| {
            (
                !one.failed,
                !one.outdated,
                one.on_request,
                -beyond(one.entry),
                Reverse(one.id),
            )
        };
        let Some((place, _)) = free.iter().enumerate().min_by_key(|(_, one)| first(one)) else {
            break;
        };
        let gone = free.swap_remove(place);
        if let Some(count) = gone.entry.and_then(|entry| have.get_mut(&entry)) {
            *count = count.saturating_sub(1);
        }
        chosen.push(gone.id);
    }
    chosen
}

/// The sum of shares.
pub(crate) fn shares(fill: &[Fill]) -> u64 {
    fill.iter()
        .map(|entry| u64::from(entry.share))
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn needs(count: usize) -> Vec<PortNeed> {
        (0..count)
            .map(|i| PortNeed {
                node: NodeName::parse(&format!("v{i}")).expect("a node name"),
                port: "rpc".into(),
            })
            .collect()
    }

    fn entry(share: u32) -> Fill {
        Fill {
            network_type: "cometbft".into(),
            preset: "default".into(),
            share,
            parameters: serde_json::Map::new(),
        }
    }

    proptest! {
        #[test]
        fn ports_are_in_range_and_free_and_distinct(first in 1024u16..60000, width in 0u16..200, count in 0usize..17, taken: Vec<u16>) {
            let range = (first, first.saturating_add(width));
            let taken: BTreeSet<u16> = taken.into_iter().chain(first..first.saturating_add(3)).collect();
            match ports(range, &taken, &needs(count)) {
                Some(given) => {
                    let distinct: BTreeSet<u16> = given.values().copied().collect();
                    prop_assert_eq!(distinct.len(), count);
                    prop_assert!(distinct.iter().all(|p| *p >= range.0 && *p <= range.1 && !taken.contains(p)));
                }
                None => prop_assert!((range.0..=range.1).filter(|p| !taken.contains(p)).count() < count),
            }
        }

        #[test]
        fn subnets_never_overlap(sizes in proptest::collection::vec(1u32..300, 1..60), machines in 0u32..4) {
            let range: Ipv4Net = "10.213.0.0/16".parse().expect("a net");
            let mut taken: BTreeSet<Ipv4Net> = BTreeSet::new();
            for nodes in sizes {
                let net = subnet(range, &taken, (nodes, machines)).expect("there is room for 128 of the largest");
                prop_assert!(range.contains(&net) && addresses(net, machines) >= nodes);
                prop_assert!(!taken.iter().any(|other| other.contains(&net) || net.contains(other)));
                taken.insert(net);
            }
        }

        #[test]
        fn filling_up_reaches_the_shares(shares in proptest::collection::vec(1u32..4, 1..4), capacity in 1u32..30) {
            let fill: Vec<Fill> = shares.iter().map(|s| entry(*s)).collect();
            let mut have = BTreeMap::new();
            for _ in 0..capacity {
                let next = fill_entry(&fill, &have, capacity, &BTreeSet::new()).expect("an entry is open");
                *have.entry(next).or_insert(0) += 1;
            }
            let total: u32 = shares.iter().sum();
            for (place, share) in shares.iter().enumerate() {
                let due = f64::from(capacity) * f64::from(*share) / f64::from(total);
                prop_assert!((f64::from(have.get(&place).copied().unwrap_or(0)) - due).abs() < 1.0 + f64::EPSILON);
            }
        }
    }

    #[test]
    fn a_smaller_pool_keeps_the_shares_and_clusters_created_on_request() {
        let fill = [entry(1), entry(1)];
        let one = |entry: Option<usize>| Free {
            id: Uuid::now_v7(),
            failed: false,
            outdated: false,
            entry,
            on_request: false,
        };
        let first = [one(Some(0)), one(Some(0)), one(Some(0)), one(Some(1))];
        let special = [
            Free {
                failed: true,
                ..one(Some(1))
            },
            Free {
                outdated: true,
                ..one(None)
            },
            Free {
                on_request: true,
                ..one(None)
            },
        ];
        let all: Vec<Free> = first.iter().chain(&special).cloned().collect();
        let gone = |count| {
            surplus(
                all.clone(),
                &fill,
                have(all.iter().map(|free| free.entry)),
                2,
                count,
            )
        };
        assert!(gone(0).is_empty());
        assert_eq!(
            gone(2),
            [special[0].id, special[1].id],
            "the failed one, then the outdated one"
        );
        assert_eq!(
            gone(4)[2..],
            [first[2].id, first[1].id],
            "the newest of the entry that has the most"
        );
        assert_eq!(gone(9).last(), Some(&special[2].id));
        assert_eq!(gone(9).len(), 7);
    }

    #[test]
    fn the_largest_possible_shares_do_not_overflow() {
        let fill = [entry(u32::MAX), entry(1), entry(u32::MAX)];
        assert_eq!(shares(&fill), 2 * u64::from(u32::MAX) + 1);
        let have = BTreeMap::from([(0, u32::MAX), (2, 3)]);
        assert_eq!(fill_entry(&fill, &have, u32::MAX, &BTreeSet::new()), Some(2));
        assert_eq!(
            fill_entry(&[entry(0)], &BTreeMap::new(), 3, &BTreeSet::new()),
            None
        );
    }

    #[test]
    fn a_full_range_has_no_subnet() {
        let range: Ipv4Net = "10.213.0.0/26".parse().expect("a net");
        assert_eq!(subnet(range, &BTreeSet::new(), (4, 0)), Some(range));
        assert_eq!(subnet(range, &BTreeSet::from([range]), (4, 0)), None);
    }

    #[test]
    fn a_network_has_an_address_for_each_node() {
        let range: Ipv4Net = "10.213.0.0/24".parse().expect("a net");
        let prefix =
            |nodes, machines| subnet(range, &BTreeSet::new(), (nodes, machines)).map(|net| net.prefix_len());
        assert_eq!(
            [prefix(61, 0), prefix(62, 0), prefix(61, 1), prefix(125, 0)],
            [Some(26), Some(25), Some(25), Some(25)]
        );
        assert_eq!([prefix(253, 0), prefix(254, 0)], [Some(24), None]);
        let small = "10.213.0.0/29".parse().expect("a net");
        assert_eq!(subnet(small, &BTreeSet::new(), (5, 0)), Some(small));
        assert_eq!(subnet(small, &BTreeSet::new(), (6, 0)), None);
    }

    fn machine(id: &str, closed: Option<&str>) -> HostMachine {
        let [id, name, address] = [id, id, id].map(str::to_owned);
        HostMachine {
            id,
            name,
            address,
            cpus: 1,
            memory_bytes: 1,
            closed: closed.map(str::to_owned),
        }
    }

    #[test]
    fn nodes_are_spread_over_available_machines() {
        let all = [
            machine("a", None),
            machine("b", Some("drained")),
            machine("c", None),
            machine("d", None),
        ];
        let nodes: Vec<NodeName> = (0..4)
            .map(|i| NodeName::parse(&format!("v{i}")).expect("a node name"))
            .collect();
        let (none, load) = (
            BTreeMap::new(),
            BTreeMap::from([("a".to_owned(), 5), ("c".to_owned(), 1)]),
        );
        let chosen = machines(&nodes, &all, &none, &load, &BTreeMap::new()).expect("machines are open");
        let on = |id: &str| chosen.values().filter(|chosen| *chosen == id).count();
        assert_eq!(
            (on("a"), on("b"), on("c"), on("d")),
            (1, 0, 1, 2),
            "the least loaded machine gets the extra node: {chosen:?}"
        );
        assert_eq!(machines(&nodes, &all[1..2], &none, &load, &BTreeMap::new()), None);
    }

    #[test]
    fn new_nodes_go_to_machines_without_nodes_of_their_cluster() {
        let all = [machine("a", None), machine("b", None)];
        let [old, new] = ["v0", "v1"].map(|name| NodeName::parse(name).expect("a node name"));
        let (had, load) = (
            BTreeMap::from([(old, "a".to_owned())]),
            BTreeMap::from([("b".to_owned(), 3)]),
        );
        let none = BTreeMap::new();
        assert_eq!(
            machines(std::slice::from_ref(&new), &all, &had, &load, &none),
            Some(BTreeMap::from([(new, "b".to_owned())]))
        );
    }

    #[test]
    fn colocated_nodes_share_a_machine() {
        let all = ["a", "b", "c"].map(|id| machine(id, None));
        let names = |all: &[&str]| {
            all.iter()
                .map(|name| NodeName::parse(name).expect("a node name"))
                .collect::<Vec<_>>()
        };
        let nodes = names(&["p0", "d0", "p1", "d1", "o0"]);
        let colocated = BTreeMap::from([
            (nodes[1].clone(), nodes[0].clone()),
            (nodes[3].clone(), nodes[2].clone()),
        ]);
        let chosen = machines(&nodes, &all, &BTreeMap::new(), &BTreeMap::new(), &colocated)
            .expect("machines are open");
        assert_eq!(
            (&chosen[&nodes[1]], &chosen[&nodes[3]]),
            (&chosen[&nodes[0]], &chosen[&nodes[2]])
        );
        assert_eq!(
            chosen.values().collect::<BTreeSet<_>>().len(),
            3,
            "the others are spread: {chosen:?}"
        );
        // A database is added to an existing peer.
        let more = names(&["d0"]);
        let had = BTreeMap::from([(nodes[0].clone(), "c".to_owned())]);
        assert_eq!(
            machines(&more, &all, &had, &BTreeMap::new(), &colocated),
            Some(BTreeMap::from([(more[0].clone(), "c".to_owned())]))
        );
    }

    #[test]
    fn nodes_keep_their_machine_unless_only_others_are_available() {
        let node = NodeName::parse("v0").expect("a node name");
        let (nodes, load) = ([node.clone()], BTreeMap::new());
        let on = |id: &str| BTreeMap::from([(node.clone(), id.to_owned())]);
        let place = |known: &[HostMachine]| machines(&nodes, known, &on("b"), &load, &BTreeMap::new());
        assert_eq!(place(&[machine("a", None), machine("b", None)]), Some(on("b")));
        assert_eq!(
            place(&[machine("a", None), machine("b", Some("down"))]),
            Some(on("a"))
        );
        assert_eq!(
            place(&[machine("a", None)]),
            Some(on("a")),
            "its machine has left"
        );
        assert_eq!(
            place(&[machine("a", Some("down")), machine("b", Some("down"))]),
            Some(on("b")),
            "it waits for its machine"
        );
    }

    #[test]
    fn the_fitting_host_with_the_most_capacity_is_chosen() {
        let candidate = |host, room, fits| Candidate { host, room, fits };
        assert_eq!(
            host(vec![
                candidate("a", 1, true),
                candidate("b", 3, false),
                candidate("c", 2, true)
            ]),
            Some("c")
        );
        assert_eq!(host(vec![candidate("a", 0, true)]), None);
    }
}
