//! Validation of names, labels and other values that several requests have.

use crate::{Error, Result};
use chainpool_api::Timestamp;
use chainpool_store::{Labels, Moment};
use std::collections::BTreeMap;

/// Validates the name of a host, cluster or account.
pub(crate) fn check_name(field: &str, name: &str) -> Result<()> {
    let is_valid = (1..=40).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if is_valid {
        Ok(())
    } else {
        Err(Error::field(
            field,
            format!(
                "{name:?} is not a valid name; use 1 to 40 of a-z, 0-9 and -, starting with a letter and not ending with -"
            ),
        ))
    }
}

/// The end of a maintenance window that starts now; 0 seconds end it.
pub(crate) fn maintenance_until(seconds: u32) -> Result<Option<Moment>> {
    const MAX: u32 = 365 * 24 * 60 * 60;
    if seconds > MAX {
        return Err(Error::field(
            "maintenance_seconds",
            format!("use at most {MAX} seconds (365 days); 0 ends maintenance"),
        ));
    }
    Ok((seconds > 0).then(|| Timestamp::now().plus_seconds(i64::from(seconds)).into()))
}

/// The maximum length of a search text.
const SEARCH_LENGTH: usize = 200;

/// Refuses a search text that is too long: the database compares it with every name.
pub(crate) fn check_search(search: Option<&str>) -> Result<()> {
    match search {
        Some(text) if text.chars().count() > SEARCH_LENGTH => Err(Error::field(
            "search",
            format!("use at most {SEARCH_LENGTH} characters"),
        )),
        _ => Ok(()),
    }
}

/// The maximum number of labels of a cluster and in a filter.
const LABELS: usize = 64;

/// Validates labels.
pub(crate) fn check_labels(labels: &BTreeMap<String, String>) -> Result<()> {
    if labels.len() > LABELS {
        return Err(Error::field("labels", format!("use at most {LABELS} labels")));
    }
    match labels
        .iter()
        .find(|(key, value)| !Labels::is_valid(key) || !Labels::is_valid(value))
    {
        None => Ok(()),
        Some((key, value)) => Err(Error::field(
            "labels",
            format!("{key}={value}: keys and values must be 1 to 63 of a-z, A-Z, 0-9, -, _, . and /"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maintenance_is_bounded_and_zero_ends_it() {
        assert!(maintenance_until(0).is_ok_and(|until| until.is_none()));
        assert!(maintenance_until(365 * 86_400).is_ok_and(|until| until.is_some()));
        assert!(maintenance_until(365 * 86_400 + 1).is_err());
    }
}
