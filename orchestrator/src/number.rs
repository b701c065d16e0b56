//! Numbers of the database as numbers of the API.

/// Converts a stored count or index. A negative one, which only a damaged database holds, counts as 0.
pub(crate) fn number(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(0)
}
