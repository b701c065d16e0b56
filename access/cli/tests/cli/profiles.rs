//! What the manifest says of the builds that are shipped.

use toml::{Table, Value};

/// A part of a table; an empty one where it is not there.
fn part(table: &Table, name: &str) -> Table {
    table
        .get(name)
        .and_then(Value::as_table)
        .cloned()
        .unwrap_or_default()
}

/// An overflow is an error of one request. Without the checks it is a wrong number for everybody, which no test of a debug build shows.
#[test]
fn builds_that_are_shipped_check_for_overflows() {
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
    // Neither another profile that is made of this one, nor the settings of a crate, may take them away.
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
