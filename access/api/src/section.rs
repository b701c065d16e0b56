//! Sections: facts of a ledger as titled rows.

use crate::{
    bounds::{shorten, shorten_all},
    mark::Mark,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Maximum numbers of sections, of rows of a section, and of columns.
const SECTIONS: usize = 16;
const ROWS: usize = 1000;
const COLUMNS: usize = 16;

/// A titled table of facts. The network type chooses sections, columns and order; a front end shows them as
/// they are. All texts are plain, without markup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Section {
    /// Title: `Validators` …
    #[schema(max_length = 200)]
    pub title: String,
    /// Headings of the values; absent if the labels are enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    pub columns: Vec<String>,
    /// Rows.
    #[schema(max_items = 1000)]
    pub rows: Vec<Row>,
}

/// A row of a section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Row {
    /// Subject of the row: a node, a channel …
    #[schema(max_length = 200)]
    pub label: String,
    /// One value for each column, or a single value without columns. Empty: not known.
    #[schema(max_items = 16)]
    pub values: Vec<String>,
    /// Assessment.
    pub mark: Mark,
}

impl Section {
    /// Limits the number of sections, rows and columns and the length of texts to those of the schema.
    #[must_use]
    pub fn bounded(mut sections: Vec<Self>) -> Vec<Self> {
        sections.truncate(SECTIONS);
        for Self { title, columns, rows } in &mut sections {
            shorten(title);
            columns.truncate(COLUMNS);
            shorten_all(columns);
            rows.truncate(ROWS);
            for Row {
                label,
                values,
                mark: _,
            } in rows
            {
                shorten(label);
                values.truncate(COLUMNS);
                shorten_all(values);
            }
        }
        sections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_limited_in_number_and_length() {
        let row = Row {
            label: "é".repeat(201),
            values: vec!["x".repeat(200); 17],
            mark: Mark::Ok,
        };
        let section = Section {
            title: "T".repeat(500),
            columns: vec!["C".to_owned(); 17],
            rows: vec![row; 1001],
        };
        let sections = Section::bounded(vec![section; 17]);
        assert_eq!((sections.len(), sections[0].rows.len()), (16, 1000));
        let Section { title, columns, rows } = &sections[15];
        assert_eq!((title.chars().count(), columns.len()), (200, 16));
        assert_eq!(rows[999].label, format!("{}…", "é".repeat(199)));
        assert_eq!(rows[999].values, vec!["x".repeat(200); 16]);
    }
}
