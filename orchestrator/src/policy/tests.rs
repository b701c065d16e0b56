use super::*;
use chainpool_api::{LeaseState, OperationKind, OperationState, Timestamp};
use chainpool_store::{Json, Word};
use uuid::Uuid;

fn user(name: &str) -> Caller {
    Caller::new(Uuid::now_v7(), name, Role::User)
}

/// A program of an account, with a token for other holders.
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
        state: Word(LeaseState::Active),
        created_at: Timestamp(1000).into(),
        expires_at: None,
        ended_at: None,
        operation_id: None,
    }
}

fn operation(author: &str, at: i64) -> OperationRow {
    OperationRow {
        id: Uuid::now_v7(),
        kind: Word(OperationKind::ClusterRestart),
        state: Word(OperationState::Running),
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
    }
}

#[test]
fn roles_are_a_ladder() {
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
fn a_lease_is_its_holders_together_with_the_account_that_applied() {
    let own = lease("ann", "ann");
    assert!(may_use_lease(&user("ann"), &own) && may_use_lease(&program("ann"), &own));
    assert!(!may_use_lease(&user("bob"), &own) && !may_use_lease(&program("portal"), &own));
    for stored in ["portal/dave", "dave"] {
        let of_customer = lease(stored, "portal");
        assert!(may_use_lease(&program("portal"), &of_customer));
        assert!(
            !may_use_lease(&user("dave"), &of_customer),
            "the local account dave was given {stored}"
        );
        assert!(
            !may_use_lease(&user("portal"), &of_customer),
            "a session of portal is no token for its holders"
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

/// Whether a list that is made by [`visible_leases`] has this lease.
fn listed(caller: &Caller, holder: Option<&str>, lease: &LeaseRow) -> bool {
    let VisibleLeases { holders, applied_by } = visible_leases(caller, holder);
    holders.is_none_or(|holders| holders.contains(&lease.holder))
        && applied_by.is_none_or(|account| account == lease.applied_by)
}

#[test]
fn lists_hold_what_may_be_used_and_nothing_else() {
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
fn a_named_holder_stands_under_the_account_of_its_token() {
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
    // A customer of the account's own name is not the account.
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
fn an_operation_is_its_authors_and_of_the_holder_since_it_holds() {
    let held = lease("ann", "ann");
    assert!(may_read_operation(
        &user("ann"),
        &operation("chainpool", 1000),
        Some(&held)
    ));
    assert!(
        !may_read_operation(&user("ann"), &operation("bob", 999), Some(&held)),
        "what the holder before her did is his"
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

/// Methods of the façade that make a caller, or end one; and what the process around asks for itself, before anybody calls.
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

/// Jobs of the watchdog: they take no input, and what they ask for has [`Caller::watchdog`] as its author.
const OF_WATCHDOG: &[&str] = &[
    "autofill",
    "cluster_judge",
    "clusters_to_judge",
    "database_check",
    "database_write_check",
    "expire_leases",
    "forget_old",
    "host_judge",
    "host_unheard",
    "host_watch",
    "hosts_to_watch",
    "isolated",
    "node_died",
    "note_checked",
    "note_lag",
    "note_pass",
];

/// The public methods of the façade in a file: name and whole head.
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
fn each_method_of_the_facade_takes_its_caller() {
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
        "a new method of the façade takes its caller and asks the policy"
    );
}

#[test]
fn a_user_alone_has_a_limit_of_leases() {
    assert_eq!(lease_limit(&user("ann"), 20), Some(20));
    assert_eq!(lease_limit(&user("ann"), 0), None, "no limit");
    assert_eq!(lease_limit(&program("portal"), 20), None, "it applies for others");
    for role in [Role::Operator, Role::Admin] {
        assert_eq!(
            lease_limit(&Caller::new(Uuid::nil(), "ann", role), 20),
            None,
            "{role}"
        );
    }
}
