//! Text formatting.

/// Formats a count with its noun: `1 node`, `2 nodes`.
pub(crate) fn counted(count: impl TryInto<i64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(i64::MAX);
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!(
            [0, 1, 2].map(|count| counted(count, "node")),
            ["0 nodes", "1 node", "2 nodes"]
        );
        assert_eq!(counted(7_usize, "cluster"), "7 clusters");
    }
}
