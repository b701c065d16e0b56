use super::*;
use chainpool_store::{EnumColumn, Json, testing};

fn cluster(parameters: serde_json::Value, by_fill: bool) -> ClusterRow {
    let now = Timestamp::now();
    let fill_key = by_fill.then(|| "an entry".to_owned());
    let preset = "single".to_owned();
    ClusterRow {
        preset,
        parameters: Json(parameters),
        fill_key,
        ..testing::free(&testing::host(now), "c", now)
    }
}

fn recipe(interval: u32) -> Recipe {
    let network = chainpool_networks::Registry::default()
        .get("cometbft")
        .expect("it is there");
    Recipe {
        network_type: "cometbft".to_owned(),
        preset: "single".to_owned(),
        known: network.describe().parameters,
        wanted: serde_json::json!({"block_interval_ms": interval}),
    }
}

#[test]
fn a_cluster_that_predates_a_parameter_has_its_default() {
    let network = chainpool_networks::Registry::default()
        .get("cometbft")
        .expect("it is there");
    let default = network
        .describe()
        .parameters
        .into_iter()
        .find(|p| p.name == "block_interval_ms")
        .expect("a parameter")
        .default;
    let wanted = |value: serde_json::Value| Recipe {
        wanted: serde_json::json!({"block_interval_ms": value}),
        ..recipe(0)
    };
    let old = cluster(serde_json::json!({}), true);
    assert!(wanted(default).matches(&old));
    assert!(!wanted(serde_json::json!(7)).matches(&old));
}

#[test]
fn clusters_in_maintenance_stopped_or_leased_are_not_idle() {
    let free = cluster(serde_json::json!({}), true);
    assert!(is_idle(&free));
    let later = Timestamp::now().plus_seconds(60).into();
    assert!(!is_idle(&ClusterRow {
        maintenance_until: Some(later),
        ..free.clone()
    }));
    assert!(!is_idle(&ClusterRow {
        state: EnumColumn(ClusterState::Stopped),
        ..free.clone()
    }));
    assert!(!is_idle(&ClusterRow { leased: true, ..free }));
}

#[test]
fn entries_that_differ_only_in_parameters_are_distinct() {
    let recipes = Recipes(vec![Some(recipe(500)), Some(recipe(2000))]);
    let of =
        |interval: u32| recipes.place(&cluster(serde_json::json!({"block_interval_ms": interval}), true));
    assert_eq!((of(500), of(2000), of(300)), (Some(0), Some(1), None));
    let amended = ClusterRow {
        created_with: Some(Json(serde_json::json!({"block_interval_ms": 2000}))),
        ..cluster(serde_json::json!({"block_interval_ms": 7}), true)
    };
    assert_eq!(
        recipes.place(&amended),
        Some(1),
        "its next generation has the original parameters"
    );
}

#[test]
fn a_cluster_is_outdated_when_no_entry_matches_it() {
    let recipes = Recipes(vec![Some(recipe(300))]);
    let old = serde_json::json!({"block_interval_ms": 500});
    assert!(recipes.is_outdated(&cluster(old.clone(), true)));
    assert!(
        !recipes.is_outdated(&cluster(old.clone(), false)),
        "it was created on request"
    );
    let present = cluster(serde_json::json!({"block_interval_ms": 300}), true);
    assert!(!recipes.is_outdated(&present));
    assert!(
        recipes.is_outdated(&ClusterRow {
            preset: "default".into(),
            ..present.clone()
        }),
        "of another preset"
    );
    assert!(
        recipes.is_outdated(&ClusterRow {
            network_type: "fabric".into(),
            ..present
        }),
        "of another type"
    );
    assert!(
        !Recipes(vec![Some(recipe(300)), None]).is_outdated(&cluster(old, true)),
        "it may belong to the entry that is not understood"
    );
}

#[test]
fn one_cluster_is_singular() {
    assert_eq!(
        (clusters_are(1, "free "), clusters_are(3, "free ")),
        ("1 free cluster is".into(), "3 free clusters are".into())
    );
}
