//! Cells of sections.

/// The text of a value; empty if it is not known.
pub fn cell<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
