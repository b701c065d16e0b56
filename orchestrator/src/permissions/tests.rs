use super::*;
use chainpool_api::{LeaseState, OperationKind, OperationState, Timestamp};
use chainpool_store::{EnumColumn, Json, RowVersion};
use uuid::Uuid;

fn user(name: &str) -> Caller {
    Caller::new(Uuid::now_v7(), name, Role::User)
}

/// A caller with a token for other holders.
fn program(name: &str) -> Caller {
    Caller {
        lease_any: true,
        ..user(name)
    }
}

fn lease(holder: &str, applied_by: &str) -> LeaseRow {
    LeaseRow {
        id: Uuid::now_v7(),
        cluster_id: Uuid::from_u128(7),
        holder: holder.into(),
        applied_by: applied_by.into(),
        filter: "[]".into(),
        single: true,
        state: EnumColumn(LeaseState::Active),
        created_at: Timestamp(1000).into(),
        expires_at: None,
        ended_at: None,
        operation_id: None,
        row_version: RowVersion::default(),
    }
}

fn operation(author: &str, at: i64) -> OperationRow {
    OperationRow {
        id: Uuid::now_v7(),
        kind: EnumColumn(OperationKind::ClusterRestart),
        state: EnumColumn(OperationState::Running),
        host_id: Uuid::from_u128(1),
        cluster_id: Some(Uuid::from_u128(7)),
        generation: 1,
        parent_id: None,
        author: author.into(),
        reason: String::new(),
        arguments: Json(serde_json::Value::Null),
        result: None,
        error: None,
        epoch: 0,
        deadline_at: None,
        created_at: Timestamp(at).into(),
        started_at: None,
        ended_at: None,
        row_version: RowVersion::default(),
    }
}

#[test]
fn each_role_includes_the_lower_roles() {
    for (role, operate, administer) in [
        (Role::User, false, false),
        (Role::Operator, true, false),
        (Role::Admin, true, true),
    ] {
        let caller = Caller::new(Uuid::nil(), "ann", role);
        assert_eq!(
            (must_operate(&caller).is_ok(), must_administer(&caller).is_ok()),
            (operate, administer)
        );
        assert!(Access::AtLeast(Role::User).check(&caller).is_ok() && Access::Anyone.check(&caller).is_ok());
        assert_eq!(Access::AtLeast(Role::Admin).check(&caller).is_ok(), administer);
    }
    let refused = must_operate(&user("ann")).unwrap_err();
    assert_eq!(
        (refused.status(), refused.to_string().contains("operator")),
        (403, true)
    );
}

#[test]
fn a_lease_belongs_to_its_holder_and_the_applying_account() {
    let own = lease("ann", "ann");
    assert!(may_use_lease(&user("ann"), &own) && may_use_lease(&program("ann"), &own));
    assert!(!may_use_lease(&user("bob"), &own) && !may_use_lease(&program("portal"), &own));
    for stored in ["portal/dave", "dave"] {
        let of_customer = lease(stored, "portal");
        assert!(may_use_lease(&program("portal"), &of_customer));
        assert!(
            !may_use_lease(&user("dave"), &of_customer),
            "the local account dave may use {stored}"
        );
        assert!(
            !may_use_lease(&user("portal"), &of_customer),
            "a session of portal may use leases of its holders"
        );
        assert!(
            !may_use_lease(&program("dave"), &of_customer) && !may_use_lease(&program("shop"), &of_customer)
        );
        assert!(may_use_lease(
            &Caller::new(Uuid::nil(), "otto", Role::Operator),
            &of_customer
        ));
    }
}

/// Returns `true` if a list filtered with [`visible_leases`] contains this lease.
fn listed(caller: &Caller, holder: Option<&str>, lease: &LeaseRow) -> bool {
    let VisibleLeases { holders, applied_by } = visible_leases(caller, holder);
    holders.is_none_or(|holders| holders.contains(&lease.holder))
        && applied_by.is_none_or(|account| account == lease.applied_by)
}

#[test]
fn lists_contain_exactly_the_usable_leases() {
    let callers = [
        user("ann"),
        program("ann"),
        user("dave"),
        program("portal"),
        user("portal"),
        Caller::watchdog(),
    ];
    let leases = [
        lease("ann", "ann"),
        lease("dave", "portal"),
        lease("portal/dave", "portal"),
        lease("dave", "dave"),
        lease("portal", "portal"),
    ];
    for caller in &callers {
        for lease in &leases {
            assert_eq!(
                listed(caller, None, lease),
                may_use_lease(caller, lease),
                "{caller:?} {lease:?}"
            );
            let of_holder = listed(caller, Some(&lease.holder), lease);
            assert_eq!(of_holder, may_use_lease(caller, lease), "{caller:?} {lease:?}");
            assert!(!listed(caller, Some("nobody"), lease));
        }
    }
    let portal = program("portal");
    assert!(listed(&portal, Some("dave"), &leases[2]) && listed(&portal, Some("dave"), &leases[1]));
    assert!(
        listed(&portal, Some("portal/dave"), &leases[2]) && listed(&portal, Some("portal/dave"), &leases[1])
    );
}

#[test]
fn a_named_holder_is_prefixed_with_the_account_of_its_token() {
    let named = |caller: &Caller, name: &str| {
        holder(caller, Some(name.to_owned())).map(|holder| (holder.stored, holder.former))
    };
    let portal = program("portal");
    for name in ["dave", "portal/dave"] {
        assert_eq!(
            named(&portal, name).unwrap(),
            ("portal/dave".to_owned(), Some("dave".to_owned()))
        );
    }
    assert_eq!(named(&portal, "shop/dave").unwrap().0, "portal/shop/dave");
    // A holder with the account's own name is not the account.
    assert_eq!(
        named(&portal, "portal").unwrap(),
        ("portal/portal".to_owned(), None)
    );
    assert_eq!(
        holder(&portal, None).unwrap(),
        Holder {
            stored: "portal".into(),
            former: None
        }
    );
    assert_eq!(named(&user("ann"), "ann").unwrap(), ("ann".to_owned(), None));
    assert_eq!(named(&user("ann"), "bob").unwrap_err().status(), 403);
    for bad in ["", "portal/", "a\nb", &"x".repeat(129)] {
        assert_eq!(named(&portal, bad).unwrap_err().status(), 400, "{bad:?}");
    }
}

#[test]
fn an_operation_is_readable_by_its_author_and_by_the_holder_since_the_lease() {
    let held = lease("ann", "ann");
    assert!(may_read_operation(
        &user("ann"),
        &operation("chainpool", 1000),
        Some(&held)
    ));
    assert!(
        !may_read_operation(&user("ann"), &operation("bob", 999), Some(&held)),
        "operations before her lease"
    );
    assert!(may_read_operation(
        &user("bob"),
        &operation("bob", 999),
        Some(&held)
    ));
    assert!(!may_read_operation(
        &user("carol"),
        &operation("bob", 1001),
        Some(&held)
    ));
    assert!(!may_read_operation(&user("ann"), &operation("otto", 1001), None));
    let mut elsewhere = operation("otto", 1001);
    elsewhere.cluster_id = None;
    assert!(!may_read_operation(&user("ann"), &elsewhere, Some(&held)));
    assert!(may_read_operation(
        &Caller::new(Uuid::nil(), "eve", Role::Admin),
        &elsewhere,
        None
    ));
}

/// Façade methods that create or end a caller, and methods that the process itself calls before any caller
/// exists.
const MAKE_CALLERS: &[&str] = &[
    "start",
    "stop",
    "sign_in",
    "sign_out",
    "authenticate",
    "password_set",
    "link_account",
    "local_admin",
    "instance",
];

/// Watchdog jobs: they take no input, and their operations have [`Caller::watchdog`] as the author.
const OF_WATCHDOG: &[&str] = &[
    "autofill",
    "cluster_assess",
    "cluster_changed",
    "clusters_to_assess",
    "database_check",
    "database_write_check",
    "expire_leases",
    "prune_history",
    "health_policy",
    "host_assess",
    "host_changed",
    "host_events_interrupted",
    "host_watch",
    "hosts_to_watch",
    "isolated",
    "node_died",
    "note_checked",
    "note_lag",
    "note_pass",
    "oldest_assessment",
];

/// The public façade methods in a file: name and signature.
fn methods(source: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let (mut inside, mut lines) = (false, source.lines());
    while let Some(line) = lines.next() {
        if line.starts_with("impl ") {
            inside = line == "impl Orchestrator {";
        }
        let method = line
            .strip_prefix("    pub async fn ")
            .or_else(|| line.strip_prefix("    pub fn "));
        if let Some(method) = method.filter(|_| inside) {
            let mut head = method.to_owned();
            while !head.ends_with('{') {
                head.push_str(lines.next().expect("a method has a body").trim());
            }
            let name = head.split(['(', '<']).next().unwrap_or_default().to_owned();
            found.push((name, head));
        }
    }
    found
}

fn sources(folder: &std::path::Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(methods(&std::fs::read_to_string(path).unwrap()));
        }
    }
}

#[test]
fn every_facade_method_takes_its_caller() {
    let mut found = Vec::new();
    sources(
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert!(found.len() > 50, "{found:?}");
    let takes_none = found.iter().filter(|(_, head)| !head.contains("caller: &Caller"));
    let mut takes_none: Vec<&str> = takes_none.map(|(name, _)| name.as_str()).collect();
    let mut may: Vec<&str> = MAKE_CALLERS.iter().chain(OF_WATCHDOG).copied().collect();
    takes_none.sort_unstable();
    may.sort_unstable();
    assert_eq!(
        takes_none, may,
        "a new façade method must take its caller and ask for permission"
    );
}

#[test]
fn only_users_have_a_lease_limit() {
    assert_eq!(lease_limit(&user("ann"), 20), Some(20));
    assert_eq!(lease_limit(&user("ann"), 0), None, "no limit");
    assert_eq!(
        lease_limit(&program("portal"), 20),
        None,
        "it applies for other holders"
    );
    for role in [Role::Operator, Role::Admin] {
        assert_eq!(
            lease_limit(&Caller::new(Uuid::nil(), "ann", role), 20),
            None,
            "{role}"
        );
    }
}
