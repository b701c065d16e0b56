//! Text form of clusters.

use crate::output::{self, NONE, clean, maybe, maybe_when, when, yes};
use chainpool_api::{
    Cluster, Drawing, DrawnNode, Endpoint, Evidence, HealthChange, Mark, Node, NodeEvidence, Proof, Row,
    Section,
};
use std::{collections::BTreeMap, fmt::Write as _};

/// Clusters, one per line.
pub(crate) fn table(clusters: &[Cluster]) -> String {
    let rows = clusters.iter().map(|cluster| {
        vec![
            cluster.name.clone(),
            cluster.host.clone(),
            cluster.network_type.clone(),
            cluster.size.to_string(),
            cluster.state.to_string(),
            cluster.health.state.to_string(),
            maybe(cluster.height.as_ref()),
            maybe_when(cluster.health.checked_at),
            yes(cluster.offered),
            maybe(cluster.holder.as_ref()),
            when(cluster.created_at),
            if cluster.health.reason.is_empty() {
                NONE.to_owned()
            } else {
                cluster.health.reason.clone()
            },
        ]
    });
    let head = [
        "NAME", "HOST", "TYPE", "SIZE", "STATE", "HEALTH", "HEIGHT", "CHECKED", "FREE", "HOLDER", "CREATED",
        "REASON",
    ];
    output::table(&head, rows.collect())
}

/// A cluster in full detail.
pub(crate) fn details(cluster: &Cluster) -> String {
    let labels: Vec<String> = cluster
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let mut text = output::fields(&[
        ("name", cluster.name.clone()),
        ("id", cluster.id.to_string()),
        ("host", cluster.host.clone()),
        (
            "type",
            format!(
                "{} {} (preset {}, {})",
                cluster.network_type,
                cluster.version,
                maybe(cluster.preset.as_ref()),
                cluster.consensus
            ),
        ),
        ("size", cluster.size.to_string()),
        ("parameters", cluster.parameters.to_string()),
        (
            "labels",
            if labels.is_empty() {
                NONE.to_owned()
            } else {
                labels.join(" ")
            },
        ),
        ("chain id", cluster.chain_id.clone()),
        ("state", cluster.state.to_string()),
        (
            "health",
            format!(
                "{}: {} (since {})",
                cluster.health.state,
                cluster.health.reason,
                when(cluster.health.since)
            ),
        ),
        ("checked", maybe_when(cluster.health.checked_at)),
        ("height", maybe(cluster.height.as_ref())),
        ("free", yes(cluster.offered)),
        ("holder", maybe(cluster.holder.as_ref())),
        ("lease", maybe(cluster.lease_id.as_ref())),
        ("operation", maybe(cluster.operation_id.as_ref())),
        (
            "maintenance",
            cluster
                .maintenance_until
                .map_or_else(|| "no".to_owned(), |until| format!("until {}", when(until))),
        ),
        (
            "created",
            format!("{} (generation {})", when(cluster.created_at), cluster.generation),
        ),
        ("ready", maybe_when(cluster.ready_at)),
    ]);
    if let Some(proof) = &cluster.proof {
        let _infallible = write!(text, "\n\n{}", output::fields(&proof_rows(proof)));
    }
    if let Some(evidence) = &cluster.evidence {
        for table in evidence_tables(evidence) {
            let _infallible = write!(text, "\n\n{table}");
        }
    }
    if !cluster.nodes.is_empty() {
        let rows = cluster.nodes.iter().map(node_row).collect();
        let head = [
            "NODE",
            "PROCESS",
            "RESPONDS",
            "HEIGHT",
            "BLOCK",
            "PEERS",
            "ENDPOINTS",
            "IMAGE",
        ];
        let _infallible = write!(text, "\n\n{}", output::table(&head, rows));
    }
    text
}

/// The sections of a network type as tables, and its drawing as a table of connections.
fn evidence_tables(evidence: &Evidence) -> Vec<String> {
    let tables = evidence.sections.iter().map(section_table);
    tables
        .chain(evidence.drawing.as_ref().and_then(connections_table))
        .collect()
}

fn section_table(section: &Section) -> String {
    let Section { title, columns, rows } = section;
    let value = ["value".to_owned()];
    let columns = if columns.is_empty() { &value } else { &columns[..] };
    let head: Vec<String> = [title.as_str()]
        .into_iter()
        .chain(columns.iter().map(String::as_str))
        .chain(["assessment"])
        .map(str::to_uppercase)
        .collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let row = |row: &Row| {
        let shown = |value: &String| {
            if value.is_empty() {
                NONE.to_owned()
            } else {
                clean(value)
            }
        };
        let values = row.values.iter().map(shown);
        [row.label.clone()]
            .into_iter()
            .chain(values)
            .chain([row.mark.to_string()])
            .collect()
    };
    output::table(&head, rows.iter().map(row).collect())
}

/// The connections of each node; `None` if the drawing shows none.
fn connections_table(drawing: &Drawing) -> Option<String> {
    let row = |node: &DrawnNode| {
        let mut connections: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for edge in drawing.edges.iter().filter(|edge| edge.from == node.name) {
            let to = match edge.mark {
                Mark::Ok | Mark::None => edge.to.clone(),
                mark => format!("{} ({mark})", edge.to),
            };
            connections.entry(&edge.meaning).or_default().push(to);
        }
        let texts: Vec<String> = connections
            .into_iter()
            .map(|(meaning, to)| format!("{meaning} {}", to.join(", ")))
            .collect();
        (!texts.is_empty()).then(|| {
            let group = node.group.clone();
            let cells = [
                node.name.clone(),
                node.role.clone(),
                maybe(group.as_ref()),
                texts.join("; "),
            ];
            cells.map(|cell| clean(&cell)).to_vec()
        })
    };
    let rows: Vec<Vec<String>> = drawing.nodes.iter().filter_map(row).collect();
    let head = ["CONNECTIONS OF", "ROLE", "GROUP", "CONNECTIONS"];
    (!rows.is_empty()).then(|| output::table(&head, rows))
}

fn proof_rows(proof: &Proof) -> [(&'static str, String); 3] {
    let Proof {
        transaction,
        height,
        key,
        value,
        written_to,
        read_from,
        at,
    } = proof;
    let read = if written_to == read_from {
        format!("{read_from}, the only node")
    } else {
        read_from.clone()
    };
    [
        ("proof", format!("{} in block {height}", when(*at))),
        ("transaction", transaction.clone()),
        (
            "wrote",
            format!("{key} = {value} to {written_to}, read back from {read}"),
        ),
    ]
}

fn node_row(node: &Node) -> Vec<String> {
    let Node {
        name,
        machine,
        image,
        endpoints,
        evidence,
    } = node;
    let unobserved = NodeEvidence::default();
    let NodeEvidence {
        process,
        answers,
        silent,
        unable,
        closed_to_users,
        stuck: _,
        height,
        hash: _,
        block_at,
        peers,
        catching_up,
        power: _,
        role: _,
        organisation: _,
        channels: _,
        certificate_ends: _,
    } = evidence.as_ref().unwrap_or(&unobserved);
    let answers = match (silent, unable) {
        (Some(why), _) => format!("no: {why}"),
        (None, Some(why)) => format!("{}, but {why}", yes(*answers)),
        (None, None) if *catching_up == Some(true) => format!("{}, catching up", yes(*answers)),
        (None, None) => match closed_to_users {
            Some(why) => format!("{}, but not on the client port: {why}", yes(*answers)),
            None => yes(*answers),
        },
    };
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|Endpoint { name, address }| format!("{name} {address}"))
        .collect();
    let name = machine
        .as_ref()
        .map_or_else(|| name.clone(), |machine| format!("{name} on {machine}"));
    vec![
        name,
        process.to_string(),
        answers,
        maybe(height.as_ref()),
        maybe_when(*block_at),
        maybe(peers.as_ref()),
        if endpoints.is_empty() {
            NONE.to_owned()
        } else {
            endpoints.join(", ")
        },
        maybe(image.as_ref()),
    ]
}

/// The health history, one change per line.
pub(crate) fn history(changes: &[HealthChange]) -> String {
    let rows = changes.iter().map(
        |HealthChange {
             state,
             reason,
             at,
             evidence,
         }| {
            let height = evidence.as_ref().and_then(|evidence| evidence.height);
            vec![
                at.to_string(),
                state.to_string(),
                maybe(height.as_ref()),
                clean(reason),
            ]
        },
    );
    output::table(&["SINCE", "HEALTH", "HEIGHT", "REASON"], rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_api::{HealthState, Timestamp};
    use serde_json::json;

    fn cluster() -> Cluster {
        let at = Timestamp::now();
        let document = json!({
            "id": uuid::Uuid::nil(), "name": "amber", "host_id": uuid::Uuid::nil(), "host": "h1", "network_type": "cometbft", "preset": "single",
            "version": "0.38", "consensus": "bft", "size": 1, "parameters": {}, "labels": {}, "state": "ready", "generation": 1,
            "chain_id": "cp-1", "health": {"state": HealthState::Healthy, "reason": "", "since": at}, "offered": true, "height": 1200,
            "created_at": at, "nodes": [{"name": "v0", "endpoints": [], "evidence": {"process": "running", "answers": true}}],
        });
        serde_json::from_value(document).expect("a cluster")
    }

    /// The cell under a heading in a table of one row; cells are at least two spaces apart.
    fn cell(table: &str, heading: &str) -> String {
        let split = |line: &str| {
            line.split("  ")
                .map(|cell| cell.trim().to_owned())
                .filter(|cell| !cell.is_empty())
                .collect::<Vec<_>>()
        };
        let lines: Vec<Vec<String>> = table.lines().map(split).collect();
        let column = lines[0]
            .iter()
            .position(|cell| cell == heading)
            .expect("a column");
        lines[1][column].clone()
    }

    #[test]
    fn a_node_with_an_unresponsive_client_port_is_reported() {
        let mut node = cluster().nodes.remove(0);
        assert_eq!(node_row(&node)[2], "yes");
        let evidence = node.evidence.as_mut().expect("it has evidence");
        evidence.closed_to_users = Some("no answer within 2 s".into());
        assert_eq!(
            node_row(&node)[2],
            "yes, but not on the client port: no answer within 2 s"
        );
        let evidence = node.evidence.as_mut().expect("it has evidence");
        (evidence.answers, evidence.silent) = (false, Some("connection refused".into()));
        assert_eq!(node_row(&node)[2], "no: connection refused");
    }

    #[test]
    fn lists_and_details_show_the_time_of_the_last_check() {
        let mut cluster = cluster();
        assert_eq!(cell(&table(std::slice::from_ref(&cluster)), "CHECKED"), NONE);
        let at = Timestamp::now().plus_seconds(-2 * 86_400);
        cluster.health.checked_at = Some(at);
        let text = table(std::slice::from_ref(&cluster));
        assert_eq!(
            (cell(&text, "HEIGHT"), cell(&text, "CHECKED")),
            ("1200".to_owned(), when(at)),
            "{text}"
        );
        let text = details(&cluster);
        let checked = text
            .lines()
            .find_map(|line| line.strip_prefix("checked "))
            .expect("a line");
        assert_eq!(checked.trim(), when(at));
    }

    #[test]
    fn details_show_the_sections_and_connections_of_the_network_type() {
        let mut cluster = cluster();
        cluster.evidence = Some(
            serde_json::from_value(json!({
                "nodes": {}, "channels": {},
                "sections": [
                    {"title": "Channels", "columns": ["blocks", "leader"], "rows": [{"label": "ch1", "values": ["12", ""], "mark": "problem"}]},
                    {"title": "Consensus", "rows": [{"label": "Blocks agree", "values": ["yes"], "mark": "ok"}]},
                ],
                "drawing": {
                    "groups": [{"name": "org1", "title": "org1"}],
                    "nodes": [
                        {"name": "peer0", "group": "org1", "role": "peer", "mark": "ok"},
                        {"name": "channel ch1", "role": "channel", "mark": "problem"},
                    ],
                    "edges": [
                        {"from": "peer0", "to": "channel ch1", "meaning": "has joined", "mark": "ok"},
                        {"from": "peer0", "to": "basic", "meaning": "calls", "mark": "problem"},
                    ],
                },
            }))
            .expect("evidence"),
        );
        let text = details(&cluster);
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = text.lines().map(words).collect();
        for line in [
            "CHANNELS BLOCKS LEADER ASSESSMENT",
            "ch1 12 - problem",
            "CONSENSUS VALUE ASSESSMENT",
            "Blocks agree yes ok",
            "CONNECTIONS OF ROLE GROUP CONNECTIONS",
            "peer0 peer org1 calls basic (problem); has joined channel ch1",
        ] {
            assert!(lines.iter().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
