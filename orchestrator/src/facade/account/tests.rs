use super::{
    sign_in_failures::Failure,
    sign_in_limit::Source,
    token::{LOCAL_TOKEN, MAX_TOKENS},
    *,
};
use crate::Config;
use api::{AccountCreate, PasswordSet, SignIn, TokenCreate};
use chainpool_store::{AuditRow, TokenRow};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse battery";
const HERE: &str = "192.0.2.7";

/// An orchestrator with an administrator, which is this process.
struct Bed {
    orchestrator: Orchestrator,
    admin: Caller,
    /// The local administrator's token.
    local: String,
    _folder: TempDir,
}

impl Bed {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            run_operations: false,
            ..Config::new(folder.path().to_owned(), Vec::new())
        };
        let orchestrator = Orchestrator::start(config).await.unwrap();
        let (admin, local, _) = orchestrator.local_admin().await.unwrap();
        Self {
            orchestrator,
            admin,
            local,
            _folder: folder,
        }
    }

    /// Creates an account with a password and returns its session.
    async fn account(&self, name: &str, role: Role) -> String {
        self.orchestrator
            .account_create(
                &self.admin,
                AccountCreate {
                    name: name.into(),
                    role,
                },
            )
            .await
            .unwrap();
        self.set_password(name).await
    }

    async fn set_password(&self, name: &str) -> String {
        let link = self
            .orchestrator
            .account_reset_link(&self.admin, name)
            .await
            .unwrap();
        self.orchestrator
            .password_set(
                PasswordSet {
                    link,
                    password: PASSWORD.into(),
                },
                HERE,
            )
            .await
            .unwrap()
            .token
    }

    async fn caller(&self, secret: &str) -> Caller {
        self.orchestrator.authenticate(secret).await.unwrap()
    }

    async fn token(&self, caller: &Caller, ttl_seconds: Option<u64>) -> Result<api::TokenMade> {
        self.orchestrator
            .token_create(
                caller,
                TokenCreate {
                    ttl_seconds,
                    ..new("ci")
                },
            )
            .await
    }

    async fn sign_in(&self, account: &str, password: &str, from: &str) -> Result<api::Session> {
        self.orchestrator
            .sign_in(
                SignIn {
                    account: account.into(),
                    password: password.into(),
                },
                from,
            )
            .await
    }

    /// Authenticates a request, with a change between the database result and its caching.
    async fn authenticate_while(&self, secret: &str, change: impl Future<Output = ()>) {
        let digest = digest(secret);
        let query = async {
            let found = self.orchestrator.store().read().token_of(&digest).await?;
            change.await;
            Ok(found)
        };
        assert!(
            self.orchestrator.authenticate_by(digest, query).await.is_ok(),
            "it was read before the revocation"
        );
    }

    async fn is_revoked(&self, secret: &str) -> bool {
        matches!(
            self.orchestrator.authenticate(secret).await,
            Err(Error::Unauthenticated)
        )
    }

    async fn audit(&self, verb: &str) -> Vec<AuditRow> {
        let rows = self.orchestrator.store().read().audit(1000).await.unwrap();
        rows.into_iter().filter(|row| row.verb == verb).collect()
    }
}

fn new(name: &str) -> TokenCreate {
    TokenCreate {
        name: name.into(),
        lease_any: false,
        account: None,
        ttl_seconds: None,
    }
}

fn fields<T>(result: Result<T>) -> Vec<String> {
    match result {
        Err(Error::Invalid(problem)) => problem.fields.into_keys().collect(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was accepted"),
    }
}

fn is_unauthenticated<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Unauthenticated))
}

#[tokio::test]
async fn a_credential_revoked_while_it_is_read_is_not_cached() {
    let bed = Bed::start().await;
    let session = bed.account("ann", Role::Admin).await;
    let ann = bed.caller(&session).await;
    for way in ["token", "password", "sign-out", "account"] {
        let created = bed.token(&bed.admin, None).await.unwrap();
        let secret = if way == "token" {
            created.secret.clone()
        } else {
            bed.set_password("ann").await
        };
        let change = Box::pin(async {
            match way {
                "token" => bed
                    .orchestrator
                    .token_delete(&bed.admin, created.token.id)
                    .await
                    .unwrap(),
                "password" => drop(bed.set_password("ann").await),
                "sign-out" => bed.orchestrator.sign_out(&secret).await.unwrap(),
                _ => bed.orchestrator.account_delete(&bed.admin, "ann").await.unwrap(),
            }
        });
        bed.authenticate_while(&secret, change).await;
        assert!(bed.is_revoked(&secret).await, "{way}");
    }
    assert!(is_unauthenticated(&bed.token(&ann, None).await));
}

#[tokio::test]
async fn a_sign_in_is_refused_if_the_password_or_account_changed_after_verification() {
    let bed = Bed::start().await;
    bed.account("ann", Role::User).await;
    let verified = bed
        .orchestrator
        .store()
        .read()
        .account_named("ann")
        .await
        .unwrap()
        .unwrap();
    let source = Source::of(HERE);
    assert!(bed.orchestrator.session_create(&verified, source).await.is_ok());
    bed.set_password("ann").await;
    assert!(is_unauthenticated(
        &bed.orchestrator.session_create(&verified, source).await
    ));
    let verified = bed
        .orchestrator
        .store()
        .read()
        .account_named("ann")
        .await
        .unwrap()
        .unwrap();
    bed.orchestrator.account_delete(&bed.admin, "ann").await.unwrap();
    assert!(is_unauthenticated(
        &bed.orchestrator.session_create(&verified, source).await
    ));
}

#[tokio::test]
async fn a_caller_revoked_after_admission_changes_no_credential() {
    let bed = Bed::start().await;
    let session = bed.account("eve", Role::Admin).await;
    let created = bed.token(&bed.caller(&session).await, None).await.unwrap();
    let other = bed.token(&bed.admin, None).await.unwrap();
    for way in ["token", "account"] {
        let eve = bed
            .caller(if way == "token" { &created.secret } else { &session })
            .await;
        match way {
            "token" => bed
                .orchestrator
                .token_delete(&bed.admin, created.token.id)
                .await
                .unwrap(),
            _ => bed.orchestrator.account_delete(&bed.admin, "eve").await.unwrap(),
        }
        assert!(is_unauthenticated(&bed.token(&eve, None).await), "{way}");
        let new = AccountCreate {
            name: "mallory".into(),
            role: Role::Admin,
        };
        assert!(
            is_unauthenticated(&bed.orchestrator.account_create(&eve, new).await),
            "{way}"
        );
        assert!(
            is_unauthenticated(&bed.orchestrator.account_delete(&eve, "admin").await),
            "{way}"
        );
        assert!(
            is_unauthenticated(&bed.orchestrator.account_reset_link(&eve, "admin").await),
            "{way}"
        );
        assert!(
            is_unauthenticated(&bed.orchestrator.token_delete(&eve, other.token.id).await),
            "{way}"
        );
    }
    assert!(!bed.is_revoked(&other.secret).await);
}

#[tokio::test]
async fn token_lifetimes_are_bounded_and_refused_tokens_are_not_stored() {
    let bed = Bed::start().await;
    let before = bed.orchestrator.token_list(&bed.admin).await.unwrap().len();
    for ttl in [0, 315_360_001, u64::try_from(i64::MAX).unwrap(), u64::MAX] {
        assert_eq!(
            fields(bed.token(&bed.admin, Some(ttl)).await),
            ["ttl_seconds"],
            "{ttl}"
        );
    }
    for name in ["", "a\nb", LOCAL_TOKEN, &"n".repeat(81)] {
        assert_eq!(
            fields(bed.orchestrator.token_create(&bed.admin, new(name)).await),
            ["name"],
            "{name:?}"
        );
    }
    assert_eq!(
        bed.orchestrator.token_list(&bed.admin).await.unwrap().len(),
        before
    );
    for ttl in [1, 315_360_000] {
        assert!(
            bed.token(&bed.admin, Some(ttl))
                .await
                .unwrap()
                .token
                .expires_at
                .is_some()
        );
    }
}

#[tokio::test]
async fn an_expiry_outside_the_calendar_range_is_listed() {
    let bed = Bed::start().await;
    let now = Timestamp::now();
    let mut tx = bed.orchestrator.store().begin().await.unwrap();
    for (name, expires_at) in [("late", i64::MAX), ("early", i64::MIN)] {
        let row = TokenRow {
            id: Uuid::now_v7(),
            account_id: bed.admin.account_id,
            name: name.into(),
            digest: digest(name).to_vec(),
            session: false,
            lease_any: false,
            created_at: now.into(),
            expires_at: Some(Timestamp(expires_at).into()),
        };
        tx.token_insert(row).await.unwrap();
    }
    tx.commit("test").await.unwrap();
    let text = serde_json::to_string(&bed.orchestrator.token_list(&bed.admin).await.unwrap()).unwrap();
    assert!(
        text.contains("9999-12-31T23:59:59.999Z") && text.contains("0001-01-01T00:00:00.000Z"),
        "{text}"
    );
}

#[tokio::test]
async fn a_new_password_revokes_sessions_and_tokens_except_the_servers_own() {
    let bed = Bed::start().await;
    let first = bed.set_password("admin").await;
    let admin = bed.caller(&first).await;
    let secrets = [
        first,
        bed.sign_in("admin", PASSWORD, HERE).await.unwrap().token,
        bed.token(&admin, None).await.unwrap().secret,
    ];
    bed.account("ann", Role::User).await;
    let anns = bed
        .token(
            &bed.caller(&bed.sign_in("ann", PASSWORD, HERE).await.unwrap().token)
                .await,
            None,
        )
        .await
        .unwrap()
        .secret;
    let session = bed.set_password("admin").await;
    for secret in &secrets {
        assert!(bed.is_revoked(secret).await);
    }
    for secret in [&session, &bed.local, &anns] {
        assert!(!bed.is_revoked(secret).await);
    }
    let newest = bed.audit("password_set").await.remove(0);
    assert_eq!(newest.detail, "from 192.0.2.7; ended 2 sessions and 1 tokens");
}

#[tokio::test]
async fn a_token_cannot_create_a_more_powerful_token() {
    let bed = Bed::start().await;
    let admin = bed.caller(&bed.set_password("admin").await).await;
    let created = bed.token(&admin, Some(3600)).await.unwrap();
    let short = bed.caller(&created.secret).await;
    for ttl in [None, Some(4000)] {
        assert_eq!(fields(bed.token(&short, ttl).await), ["ttl_seconds"], "{ttl:?}");
    }
    let wide = TokenCreate {
        lease_any: true,
        ttl_seconds: Some(60),
        ..new("wide")
    };
    assert!(matches!(
        bed.orchestrator.token_create(&short, wide.clone()).await,
        Err(Error::Forbidden(_))
    ));
    assert!(bed.token(&short, Some(60)).await.is_ok());
    let row = bed.audit("token_create").await.remove(0);
    assert_eq!(row.detail, format!("ci for admin, by token {}", created.token.id));
    assert!(
        bed.orchestrator.token_create(&admin, wide.clone()).await.is_ok(),
        "a session may create any"
    );
    assert!(
        bed.orchestrator
            .token_create(&bed.caller(&bed.local).await, wide)
            .await
            .is_ok(),
        "it has the scope and no expiry"
    );
}

#[tokio::test]
async fn tokens_per_account_are_limited_and_the_server_still_starts() {
    let bed = Bed::start().await;
    let session = bed.account("ann", Role::User).await;
    let ann = bed.caller(&session).await;
    for _ in 0..MAX_TOKENS {
        bed.token(&ann, None).await.unwrap();
        bed.token(&bed.admin, None).await.ok();
    }
    for caller in [&ann, &bed.admin] {
        match bed.token(caller, None).await {
            Err(Error::Conflict(problem)) => assert_eq!(problem.code, "too_many_tokens"),
            other => panic!("{other:?}", other = other.map(|created| created.token)),
        }
    }
    let (.., link) = bed.orchestrator.local_admin().await.unwrap();
    assert!(link.is_some());
    let gone = bed.orchestrator.token_list(&ann).await.unwrap().remove(0).id;
    bed.orchestrator.token_delete(&ann, gone).await.unwrap();
    assert!(bed.token(&ann, None).await.is_ok());
}

#[tokio::test]
async fn a_too_long_name_or_password_is_refused_before_anything_is_stored() {
    let bed = Bed::start().await;
    assert_eq!(
        fields(bed.sign_in(&"a".repeat(41), PASSWORD, HERE).await),
        ["account"]
    );
    assert_eq!(
        fields(bed.sign_in(&"a".repeat(900_000), PASSWORD, HERE).await),
        ["account"]
    );
    assert_eq!(
        fields(bed.sign_in("admin", &"p".repeat(1025), HERE).await),
        ["password"]
    );
    assert_eq!(bed.orchestrator.inner.authentication.sign_in_limit.len(), 0);
    assert!(bed.audit("sign_in_failed").await.is_empty());
    assert!(is_unauthenticated(
        &bed.sign_in("admin", &"p".repeat(1024), HERE).await
    ));
    let link = bed
        .orchestrator
        .account_reset_link(&bed.admin, "admin")
        .await
        .unwrap();
    assert_eq!(
        fields(
            bed.orchestrator
                .password_set(
                    PasswordSet {
                        link,
                        password: "p".repeat(1025)
                    },
                    HERE
                )
                .await
        ),
        ["password"]
    );
}

#[tokio::test]
async fn failed_sign_ins_are_audited_without_unknown_names() {
    let bed = Bed::start().await;
    bed.account("ann", Role::User).await;
    assert!(is_unauthenticated(&bed.sign_in("ann", "wrong", HERE).await));
    assert!(is_unauthenticated(&bed.sign_in("hunter2", "wrong", HERE).await));
    let details: Vec<String> = bed
        .audit("sign_in_failed")
        .await
        .into_iter()
        .map(|row| row.detail)
        .collect();
    assert_eq!(
        details,
        [
            "unknown account, from 192.0.2.7",
            "wrong password for ann from 192.0.2.7"
        ]
    );
}

#[tokio::test]
async fn a_flood_of_failed_sign_ins_makes_a_few_entries() {
    let bed = Bed::start().await;
    for _ in 0..200 {
        bed.orchestrator
            .sign_in_failed(Failure::Wrong, None, Source::of(HERE))
            .await
            .unwrap();
        bed.orchestrator
            .sign_in_failed(Failure::Limited, None, Source::of(HERE))
            .await
            .unwrap();
    }
    // The stop does not wait for the summary.
    let store = bed.orchestrator.store().clone();
    bed.orchestrator.sign_in_failures_summary().await.unwrap();
    let rows = store
        .read()
        .audit(1000)
        .await
        .unwrap()
        .into_iter()
        .filter(|row| row.verb == "sign_in_failed");
    let details: Vec<String> = rows.map(|row| row.detail).collect();
    assert_eq!(details.len(), 6, "{details:?}");
    assert_eq!(
        details[0],
        "395 more failed sign-ins in a minute, 200 of them refused by a limit; from 192.0.2.7"
    );
    bed.orchestrator.stop().await;
}
