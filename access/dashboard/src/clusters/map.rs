//! The map of a ledger: its drawing, laid out. Groups are boxes and nodes are rows; the parts of the ledger that nodes
//! connect to, such as channels, are numbered lines through these rows. Pure.

use crate::status_badge::{self, StatusBadge};
use chainpool_api as api;
use std::collections::{BTreeMap, BTreeSet};

/// Symbols of connections, for the most frequent meaning first.
const SYMBOLS: [char; 5] = ['●', '★', '◆', '■', '▼'];

/// A laid-out drawing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Map {
    /// The lines.
    pub(crate) lines: Vec<Line>,
    /// The meanings of the symbols on the lines.
    pub(crate) symbols: Vec<(char, String)>,
    /// The boxes.
    pub(crate) groups: Vec<GroupBox>,
}

/// A part of the ledger that nodes connect to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    /// Its number, from 1.
    pub(crate) number: usize,
    /// Its name.
    pub(crate) name: String,
    /// Its assessment.
    pub(crate) badge: StatusBadge,
    /// Its rare connections: `orderer0 leads`.
    pub(crate) notes: Vec<String>,
}

/// A group of nodes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GroupBox {
    /// Its title; empty for nodes without a group, if no node has one.
    pub(crate) title: String,
    /// Its nodes.
    pub(crate) nodes: Vec<MapNode>,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MapNode {
    /// Its name.
    pub(crate) name: String,
    /// Its role.
    pub(crate) role: String,
    /// Its assessment, with the state of its process.
    pub(crate) badge: StatusBadge,
    /// It is not available.
    pub(crate) is_down: bool,
    /// Its place on each line, if it is connected.
    pub(crate) stops: Vec<Option<Stop>>,
    /// Its connections to other nodes: `calls basic`.
    pub(crate) links: Vec<String>,
}

/// The place of a node on a line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stop {
    /// The symbol of its connection, or of its problem.
    pub(crate) symbol: char,
    /// Human-readable connection.
    pub(crate) title: String,
    /// Its assessment.
    pub(crate) badge: StatusBadge,
}

impl Map {
    /// The map of a cluster; `None` if its network type draws nothing.
    pub(crate) fn of(cluster: &api::Cluster) -> Option<Self> {
        let drawing = cluster.evidence.as_ref()?.drawing.as_ref()?;
        let processes: BTreeMap<&str, StatusBadge> = cluster
            .nodes
            .iter()
            .filter_map(|node| Some((node.name.as_str(), status_badge::node(node.evidence.as_ref()?))))
            .collect();
        // Other parts of the ledger have a space in their names.
        let (parts, nodes): (Vec<_>, Vec<_>) = drawing.nodes.iter().partition(|node| node.name.contains(' '));
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        let (on_lines, between): (Vec<_>, Vec<_>) = drawing
            .edges
            .iter()
            .partition(|edge| names.contains(&edge.to.as_str()));
        let symbols = symbols(&on_lines);
        let usual = symbols.first().map(|(_, meaning)| meaning.as_str());
        let line = |(at, part): (usize, &&api::DrawnNode)| Line {
            number: at + 1,
            name: part.name.clone(),
            badge: status_badge::mark(&part.mark, part.mark.as_str()),
            notes: on_lines
                .iter()
                .filter(|edge| edge.to == part.name && Some(edge.meaning.as_str()) != usual)
                .map(|edge| format!("{} {}", edge.from, edge.meaning))
                .collect(),
        };
        let node = |node: &api::DrawnNode| MapNode {
            name: node.name.clone(),
            role: node.role.clone(),
            badge: status_badge::mark(
                &node.mark,
                processes
                    .get(node.name.as_str())
                    .map_or(node.mark.as_str(), |process| process.label.as_str()),
            ),
            is_down: node.mark == api::Mark::Problem,
            stops: names
                .iter()
                .map(|line| stop(&on_lines, &symbols, &node.name, line))
                .collect(),
            links: links(&between, &node.name),
        };
        let in_group = |group: Option<&str>| -> Vec<MapNode> {
            let members = nodes.iter().filter(|member| member.group.as_deref() == group);
            members.map(|member| node(member)).collect()
        };
        let rest = if drawing.groups.is_empty() {
            ""
        } else {
            "Other nodes"
        };
        let mut groups: Vec<GroupBox> = drawing
            .groups
            .iter()
            .map(|group| GroupBox {
                title: group.title.clone(),
                nodes: in_group(Some(&group.name)),
            })
            .collect();
        groups.push(GroupBox {
            title: rest.to_owned(),
            nodes: in_group(None),
        });
        groups.retain(|group| !group.nodes.is_empty());
        Some(Self {
            lines: parts.iter().enumerate().map(line).collect(),
            symbols,
            groups,
        })
    }
}

/// The meanings of connections with their symbols, the most frequent first. Rarer ones share the last symbol.
fn symbols(edges: &[&api::Edge]) -> Vec<(char, String)> {
    let meanings: BTreeSet<&str> = edges.iter().map(|edge| edge.meaning.as_str()).collect();
    let count = |meaning: &str| edges.iter().filter(|edge| edge.meaning == meaning).count();
    let mut sorted: Vec<&str> = meanings.into_iter().collect();
    sorted.sort_by_key(|meaning| std::cmp::Reverse(count(meaning)));
    let symbol = |at: usize| SYMBOLS[at.min(SYMBOLS.len() - 1)];
    let named = sorted.into_iter().enumerate();
    named
        .map(|(at, meaning)| (symbol(at), meaning.to_owned()))
        .collect()
}

/// The place of a node on a line. Of several connections the rarest counts: a leader has joined, too.
fn stop(edges: &[&api::Edge], symbols: &[(char, String)], node: &str, line: &str) -> Option<Stop> {
    let connections = edges.iter().filter(|edge| edge.from == node && edge.to == line);
    let (place, edge) = connections
        .filter_map(|edge| {
            let place = symbols.iter().position(|(_, meaning)| *meaning == edge.meaning)?;
            Some((place, edge))
        })
        .max_by_key(|(place, _)| *place)?;
    let badge = status_badge::mark(&edge.mark, edge.mark.as_str());
    let is_fine = matches!(edge.mark, api::Mark::Ok | api::Mark::None);
    Some(Stop {
        symbol: if is_fine {
            symbols[place].0
        } else {
            badge.indicator.glyph()
        },
        title: format!("{node} {} {line}", edge.meaning),
        badge,
    })
}

/// The connections of a node to other nodes, one text for each meaning.
fn links(edges: &[&api::Edge], node: &str) -> Vec<String> {
    let mut by_meaning: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for edge in edges.iter().filter(|edge| edge.from == node) {
        let to = match edge.mark {
            api::Mark::Ok | api::Mark::None => edge.to.clone(),
            mark => format!("{} ({mark})", edge.to),
        };
        by_meaning.entry(&edge.meaning).or_default().push(to);
    }
    let text = |(meaning, to): (&str, Vec<String>)| format!("{meaning} {}", to.join(", "));
    by_meaning.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn map() -> Map {
        Map::of(&samples::fabric_cluster()).expect("a map")
    }

    #[test]
    fn groups_are_boxes_and_parts_of_the_ledger_are_lines() {
        let map = map();
        let titles: Vec<_> = map.groups.iter().map(|group| group.title.as_str()).collect();
        assert_eq!(titles, ["org1", "org2", "Other nodes"]);
        let lines: Vec<_> = map
            .lines
            .iter()
            .map(|line| (line.number, line.name.as_str(), line.notes.join("; ")))
            .collect();
        assert_eq!(
            lines,
            [
                (1, "channel ch1", "orderer0 leads".to_owned()),
                (2, "channel ch2", String::new())
            ]
        );
        assert_eq!(
            map.symbols,
            [('●', "has joined".to_owned()), ('★', "leads".to_owned())]
        );
    }

    #[test]
    fn a_node_shows_its_lines_and_links_and_whether_it_is_down() {
        let map = map();
        let nodes: Vec<&MapNode> = map.groups.iter().flat_map(|group| &group.nodes).collect();
        let node = |name: &str| *nodes.iter().find(|node| node.name == name).expect(name);
        let symbols = |name: &str| -> String {
            let stops = node(name).stops.iter();
            stops
                .map(|stop| stop.as_ref().map_or(' ', |stop| stop.symbol))
                .collect()
        };
        assert_eq!(symbols("orderer0"), "★●");
        assert_eq!(symbols("peer0-org1"), "●◐", "it catches up on the second");
        assert_eq!(symbols("peer0-org2"), "● ", "it is on one channel only");
        let down = node("peer0-org2");
        assert!(down.is_down && down.badge.label == "exited 137", "{down:?}");
        assert_eq!(
            node("peer0-org1").links,
            ["calls basic (problem)", "stores its state in couchdb0-org1"]
        );
        let title = node("orderer0").stops[0].as_ref().map(|stop| stop.title.as_str());
        assert_eq!(title, Some("orderer0 leads channel ch1"));
    }

    #[test]
    fn a_drawing_without_groups_is_one_box() {
        let mut cluster = samples::fabric_cluster();
        let drawing = cluster
            .evidence
            .as_mut()
            .and_then(|seen| seen.drawing.as_mut())
            .unwrap();
        drawing.groups.clear();
        drawing.edges.clear();
        for node in &mut drawing.nodes {
            node.group = None;
        }
        drawing.nodes.retain(|node| !node.name.contains(' '));
        let map = Map::of(&cluster).expect("a map");
        assert_eq!((map.groups.len(), map.groups[0].title.as_str()), (1, ""));
        assert!(map.lines.is_empty() && map.symbols.is_empty());
        cluster.evidence = None;
        assert_eq!(Map::of(&cluster), None);
    }
}
