//! Build profiles of releases in the manifest.

use toml::{Table, Value};

/// A nested table, or an empty one.
fn part(table: &Table, name: &str) -> Table {
    table
        .get(name)
        .and_then(Value::as_table)
        .cloned()
        .unwrap_or_default()
}

/// With overflow checks an overflow fails one request. Without them it is a wrong number that no debug test
/// detects.
#[test]
fn release_builds_check_for_overflows() {
    let manifest = include_str!("../../../../Cargo.toml")
        .parse::<Table>()
        .expect("a manifest");
    let profiles = part(&manifest, "profile");
    assert_eq!(
        part(&profiles, "release").get("overflow-checks"),
        Some(&Value::Boolean(true)),
        "profile.release"
    );
    assert_eq!(
        part(&profiles, "dist").get("inherits"),
        Some(&Value::from("release")),
        "profile.dist"
    );
    // Neither derived profiles nor settings of crates may disable them.
    for (name, profile) in profiles
        .iter()
        .filter_map(|(name, profile)| Some((name, profile.as_table()?)))
    {
        let crates = part(profile, "package");
        let settings = crates.values().filter_map(Value::as_table).chain([profile]);
        let off = settings
            .filter(|settings| settings.get("overflow-checks") == Some(&Value::Boolean(false)))
            .count();
        assert_eq!(off, 0, "profile.{name}");
    }
}
