//! Drawings: a ledger's nodes, their groups and connections.

use crate::{bounds::shorten, mark::Mark};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Maximum numbers of groups, nodes and edges.
const GROUPS: usize = 100;
const NODES: usize = 1000;
const EDGES: usize = 5000;

/// A graph of a ledger. It says what is connected; layout and style are the front end's. All texts are plain,
/// without markup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drawing {
    /// Groups of nodes: organisations … Absent if the nodes are not grouped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub groups: Vec<Group>,
    /// Nodes of the cluster, and parts of the ledger that connect them: channels …
    #[schema(max_items = 1000)]
    pub nodes: Vec<DrawnNode>,
    /// Edges that the evidence shows; absent if it shows none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 5000)]
    pub edges: Vec<Edge>,
}

/// A group of nodes in a drawing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// Name, unique among the groups.
    #[schema(max_length = 200)]
    pub name: String,
    /// Title.
    #[schema(max_length = 200)]
    pub title: String,
}

/// A node of a drawing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrawnNode {
    /// Name, unique in the drawing. A node of the cluster has the cluster's name for it; other names contain a
    /// space.
    #[schema(max_length = 200)]
    pub name: String,
    /// Name of its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub group: Option<String>,
    /// Role: `validator`, `peer`, `channel` …
    #[schema(max_length = 200)]
    pub role: String,
    /// Assessment.
    pub mark: Mark,
}

/// A connection of two nodes of a drawing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Edge {
    /// Name of the first node.
    #[schema(max_length = 200)]
    pub from: String,
    /// Name of the second node.
    #[schema(max_length = 200)]
    pub to: String,
    /// Meaning, read from the first to the second node: `leads` …
    #[schema(max_length = 200)]
    pub meaning: String,
    /// Assessment.
    pub mark: Mark,
}

impl Drawing {
    /// Limits the number of groups, nodes and edges and the length of texts to those of the schema. References
    /// to omitted groups and nodes are omitted too.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let Self { groups, nodes, edges } = &mut self;
        groups.truncate(GROUPS);
        for Group { name, title } in &mut *groups {
            shorten(name);
            shorten(title);
        }
        nodes.truncate(NODES);
        for DrawnNode {
            name,
            group,
            role,
            mark: _,
        } in &mut *nodes
        {
            shorten(name);
            shorten(role);
            if let Some(name) = group {
                shorten(name);
            }
            group.take_if(|name| groups.iter().all(|group| group.name != *name));
        }
        let names: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        for Edge {
            from,
            to,
            meaning,
            mark: _,
        } in &mut *edges
        {
            shorten(from);
            shorten(to);
            shorten(meaning);
        }
        edges.retain(|edge| names.contains(edge.from.as_str()) && names.contains(edge.to.as_str()));
        edges.truncate(EDGES);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_drawing_has_no_dangling_references() {
        let node = |n: usize| DrawnNode {
            name: format!("n{n}"),
            group: Some(format!("g{n}")),
            role: "r".repeat(201),
            mark: Mark::Ok,
        };
        let edge = |to: usize| Edge {
            from: "n0".to_owned(),
            to: format!("n{to}"),
            meaning: "leads".to_owned(),
            mark: Mark::None,
        };
        let group = |n: usize| Group {
            name: format!("g{n}"),
            title: String::new(),
        };
        let drawing = Drawing {
            groups: (0..101).map(group).collect(),
            nodes: (0..1001).map(node).collect(),
            edges: (0..1001).map(edge).collect(),
        };
        let Drawing { groups, nodes, edges } = drawing.bounded();
        assert_eq!((groups.len(), nodes.len(), edges.len()), (100, 1000, 1000));
        assert_eq!(nodes[99].group.as_deref(), Some("g99"));
        assert_eq!(nodes[100].group, None);
        assert_eq!(nodes[0].role.chars().count(), 200);
    }
}
