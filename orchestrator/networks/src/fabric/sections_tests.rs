//! Sections and drawings by evidence.

use super::*;
use crate::fabric::{
    drawing::drawing,
    parameters::{Parameters, state_database::StateDatabase},
};
use chainpool_api::{Drawing, Edge, ProcessState};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_795_000_000_000);
const DAY_S: i64 = 86_400;

fn parameters() -> Parameters {
    Parameters {
        organisations: 1,
        orderers: 3,
        chaincodes: vec!["asset:1.0=example/asset:1".to_owned()],
        state_database: StateDatabase::CouchDb,
        ..Parameters::default()
    }
}

/// A node by its state: `ok`, `behind`, `outside`, `unresponsive`, or a process state.
fn node(kind: NodeKind, organisation: Option<&str>, word: &str) -> NodeEvidence {
    let answers = matches!(word, "ok" | "behind" | "outside");
    let is_member = matches!(kind, NodeKind::Orderer | NodeKind::Peer);
    NodeEvidence {
        process: if answers || word == "unresponsive" {
            ProcessState::Running
        } else {
            word.parse().expect("any text is a state")
        },
        answers,
        catching_up: (answers && is_member).then_some(word == "behind"),
        role: Some(kind.as_str().to_owned()),
        organisation: organisation.map(str::to_owned),
        channels: if answers && is_member && word != "outside" {
            [("main".to_owned(), 7)].into()
        } else {
            BTreeMap::new()
        },
        ..NodeEvidence::default()
    }
}

/// Three orderers, the last one in this state; one peer with its database; a chaincode in this state.
fn seen(orderer: &str, peer: &str, database: &str, chaincode: &str) -> Evidence {
    let channel = ChannelEvidence {
        height: Some(7),
        agree: None,
        leader: Some("orderer0".to_owned()),
        active: Some(if orderer == "ok" { 3 } else { 2 }),
        chaincodes: [("asset".to_owned(), true)].into(),
    };
    let node = |name: &str, kind, organisation, word| (name.to_owned(), node(kind, organisation, word));
    Evidence {
        height: Some(7),
        channels: [("main".to_owned(), channel)].into(),
        nodes: [
            node("orderer0", NodeKind::Orderer, Some("orderers"), "ok"),
            node("orderer1", NodeKind::Orderer, Some("orderers"), "ok"),
            node("orderer2", NodeKind::Orderer, Some("orderers"), orderer),
            node("peer0-org1", NodeKind::Peer, Some("org1"), peer),
            node("db0-org1", NodeKind::Database, Some("org1"), database),
            node("cc-asset", NodeKind::Chaincode, None, chaincode),
        ]
        .into(),
        ..Evidence::default()
    }
}

fn channel(evidence: &mut Evidence) -> &mut ChannelEvidence {
    evidence.channels.get_mut("main").expect("it is there")
}

/// Rows as `title, label: values (mark)`.
fn rows(evidence: &Evidence) -> Vec<String> {
    let sections = sections(&parameters(), evidence, NOW);
    let row =
        |title: &str, row: &Row| format!("{title}, {}: {} ({})", row.label, row.values.join(", "), row.mark);
    let texts = sections
        .iter()
        .flat_map(|section| section.rows.iter().map(|of| row(&section.title, of)));
    texts.collect()
}

/// Edges as `from meaning to (mark)`.
fn edges(evidence: &Evidence) -> Vec<String> {
    let Drawing { edges, .. } = drawing(&parameters(), evidence).expect("it has nodes");
    let text = |Edge {
                    from,
                    to,
                    meaning,
                    mark,
                }: &Edge| format!("{from} {meaning} {to} ({mark})");
    edges.iter().map(text).collect()
}

#[test]
fn a_healthy_network_is_marked_as_expected() {
    let evidence = seen("ok", "ok", "ok", "ok");
    assert_eq!(
        rows(&evidence),
        [
            "Organisations, orderers: 3 of 3, , ,  (ok)",
            "Organisations, org1: , 1 of 1, 1 of 1,  (ok)",
            "Channels, main: 7, orderer0, 3 of 3,  (ok)",
            "Chaincodes, asset: main, yes, running (ok)",
        ]
    );
    assert_eq!(
        edges(&evidence),
        [
            "orderer0 leads channel main (ok)",
            "orderer1 has joined channel main (ok)",
            "orderer2 has joined channel main (ok)",
            "peer0-org1 has joined channel main (ok)",
            "peer0-org1 stores its state in db0-org1 (ok)",
            "peer0-org1 calls cc-asset (ok)",
        ]
    );
    let Drawing { groups, nodes, .. } = drawing(&parameters(), &evidence).expect("it has nodes");
    let groups: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(groups, ["orderers", "org1"]);
    let nodes: Vec<_> = nodes
        .iter()
        .map(|node| (node.name.as_str(), node.group.as_deref(), node.role.as_str()))
        .collect();
    assert_eq!(nodes[0], ("cc-asset", None, "chaincode"));
    assert_eq!(nodes[5], ("peer0-org1", Some("org1"), "peer"));
    assert_eq!(nodes[6], ("channel main", None, "channel"));
}

#[test]
fn a_missing_node_is_marked_with_its_connections() {
    let evidence = seen("exited 137", "ok", "ok", "ok");
    let texts = rows(&evidence);
    assert_eq!(texts[0], "Organisations, orderers: 2 of 3, , ,  (problem)");
    assert_eq!(texts[2], "Channels, main: 7, orderer0, 2 of 3,  (attention)");
    assert!(edges(&evidence).iter().all(|edge| !edge.contains("orderer2")));

    // A node without a channel takes no part; a node behind does.
    assert_eq!(
        rows(&seen("outside", "ok", "ok", "ok"))[0],
        "Organisations, orderers: 2 of 3, , ,  (problem)"
    );
    let behind = seen("behind", "ok", "ok", "ok");
    assert_eq!(
        rows(&behind)[0],
        "Organisations, orderers: 3 of 3, , ,  (attention)"
    );
    assert_eq!(edges(&behind)[2], "orderer2 has joined channel main (attention)");

    let mut evidence = seen("ok", "ok", "exited 1", "paused");
    let peer = evidence.nodes.get_mut("peer0-org1").expect("it is there");
    peer.unable = Some("db0-org1 exited 1".to_owned());
    let texts = rows(&evidence);
    assert_eq!(texts[1], "Organisations, org1: , 0 of 1, 0 of 1,  (problem)");
    assert_eq!(texts[3], "Chaincodes, asset: main, yes, paused (problem)");
    assert_eq!(
        edges(&evidence)[4..],
        [
            "peer0-org1 stores its state in db0-org1 (problem)",
            "peer0-org1 calls cc-asset (problem)"
        ]
    );
}

#[test]
fn a_channel_without_a_leader_or_a_quorum_is_a_problem() {
    let mut evidence = seen("ok", "ok", "ok", "ok");
    (channel(&mut evidence).leader, channel(&mut evidence).active) = (None, None);
    assert_eq!(rows(&evidence)[2], "Channels, main: 7, none, ,  (problem)");
    assert_eq!(edges(&evidence)[0], "orderer0 has joined channel main (ok)");
    let drawn = drawing(&parameters(), &evidence).expect("it has nodes");
    assert_eq!(drawn.nodes.last().map(|node| node.mark), Some(Mark::Problem));

    let mut evidence = seen("ok", "ok", "ok", "ok");
    channel(&mut evidence).active = Some(1);
    assert_eq!(
        rows(&evidence)[2],
        "Channels, main: 7, orderer0, 1 of 3,  (problem)"
    );
    // The leader has counted nobody yet.
    channel(&mut evidence).active = Some(0);
    assert_eq!(rows(&evidence)[2], "Channels, main: 7, orderer0, ,  (ok)");
    channel(&mut evidence).agree = Some(false);
    assert_eq!(rows(&evidence)[2], "Channels, main: 7, orderer0, , no (problem)");

    // No node has joined a new channel; if there is no other, it is lost.
    let mut evidence = seen("ok", "ok", "ok", "ok");
    evidence
        .channels
        .insert("two".to_owned(), ChannelEvidence::default());
    assert_eq!(rows(&evidence)[3], "Channels, two: , none, ,  (attention)");
    evidence.channels.remove("main");
    assert_eq!(rows(&evidence)[2], "Channels, two: , none, ,  (problem)");
}

#[test]
fn an_uncommitted_chaincode_needs_attention() {
    let mut evidence = seen("ok", "ok", "ok", "ok");
    channel(&mut evidence)
        .chaincodes
        .insert("asset".to_owned(), false);
    assert_eq!(
        rows(&evidence)[3],
        "Chaincodes, asset: main, no, running (attention)"
    );
    assert_eq!(edges(&evidence)[5], "peer0-org1 calls cc-asset (attention)");
}

#[test]
fn certificates_are_marked_by_their_expiry() {
    let mut evidence = seen("ok", "ok", "ok", "ok");
    let ends = |days: i64| Some(NOW.plus_seconds(days * DAY_S));
    evidence.certificate_ends = ends(0);
    for (name, days) in [("orderer0", 365), ("orderer1", 29)] {
        let node = evidence.nodes.get_mut(name).expect("it is there");
        node.certificate_ends = ends(days);
    }
    let sections = sections(&parameters(), &evidence, NOW);
    let marks: Vec<_> = sections[3]
        .rows
        .iter()
        .map(|row| (row.label.as_str(), row.mark))
        .collect();
    assert_eq!(
        marks,
        [
            ("first of the network", Mark::Problem),
            ("orderer0", Mark::Ok),
            ("orderer1", Mark::Attention)
        ]
    );
}

#[test]
fn nothing_is_shown_without_nodes() {
    assert_eq!(sections(&parameters(), &Evidence::default(), NOW), []);
    assert_eq!(drawing(&parameters(), &Evidence::default()), None);
}

fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "ok",
        "behind",
        "outside",
        "unresponsive",
        "exited 1",
        "absent",
        "unknown",
    ])
}

proptest! {
    #[test]
    fn edges_connect_nodes_of_the_drawing_and_rows_have_a_value_for_each_column(
        orderer in word(),
        peer in word(),
        database in word(),
        chaincode in word(),
        absent in prop::sample::subsequence(vec!["orderer2", "peer0-org1", "db0-org1", "cc-asset"], 0..=4),
        has_channels: bool,
    ) {
        let mut evidence = seen(orderer, peer, database, chaincode);
        evidence.nodes.retain(|name, _| !absent.contains(&name.as_str()));
        if !has_channels {
            evidence.channels.clear();
        }
        let Drawing { groups, nodes, edges } = drawing(&parameters(), &evidence).expect("it has nodes");
        let names: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        prop_assert_eq!(names.len(), nodes.len());
        for edge in &edges {
            prop_assert!(names.contains(edge.from.as_str()) && names.contains(edge.to.as_str()), "{:?}", edge);
        }
        for name in nodes.iter().filter_map(|node| node.group.as_ref()) {
            prop_assert!(groups.iter().any(|group| group.name == *name), "{}", name);
        }
        for section in sections(&parameters(), &evidence, NOW) {
            for row in &section.rows {
                prop_assert_eq!(row.values.len(), section.columns.len(), "{}: {:?}", section.title, row);
            }
        }
    }
}
