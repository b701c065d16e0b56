//! Sign-in, sign-out, one-time links, API tokens.

use crate::app::{App, request};
use chainpool_api::{Page, ResetLink, Role, Session, Token, TokenMade, WhoAmI};
use http::{Method, StatusCode};
use serde_json::json;

const PASSWORD: &str = "correct horse battery";

fn sign_in(account: &str, password: &str) -> http::Request<axum::body::Body> {
    request(
        None,
        Method::POST,
        "/api/v1/session",
        Some(json!({ "account": account, "password": password })),
    )
}

#[tokio::test]
async fn an_account_signs_in_and_out() {
    let app = App::start().await;
    app.account("ann", Role::User).await;
    app.password("ann", PASSWORD).await;
    let session: Session = app.ask(sign_in("ann", PASSWORD)).await.read(StatusCode::CREATED);
    let who: WhoAmI = app
        .get(&session.token, "/api/v1/session")
        .await
        .read(StatusCode::OK);
    assert_eq!(
        (who.account.as_str(), who.role, who.lease_any),
        ("ann", Role::User, false)
    );
    let out = app
        .call(&session.token, Method::DELETE, "/api/v1/session", None)
        .await;
    assert_eq!((out.status, out.body.len()), (StatusCode::NO_CONTENT, 0));
    app.get(&session.token, "/api/v1/session")
        .await
        .problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_wrong_password_is_rejected_and_attempts_are_limited() {
    let app = App::start().await;
    app.account("ann", Role::User).await;
    app.password("ann", PASSWORD).await;
    for account in ["ann", "nobody"] {
        let mut codes = Vec::new();
        for _ in 0..6 {
            let reply = app.ask(sign_in(account, "guess guess guess")).await;
            codes.push(reply.status.as_u16());
            match reply.status.as_u16() {
                401 => assert!(reply.problem(401, "wrong_password").message.contains("wrong")),
                _ => assert!(
                    reply.headers["retry-after"]
                        .to_str()
                        .unwrap()
                        .parse::<u32>()
                        .unwrap()
                        > 1
                ),
            }
        }
        assert_eq!(codes, [401, 401, 401, 401, 401, 429], "{account}");
    }
}

#[tokio::test]
async fn an_invalid_sign_in_names_the_field() {
    let app = App::start().await;
    for (account, password, field) in [
        ("a".repeat(41), PASSWORD.to_owned(), "account"),
        ("admin".to_owned(), "p".repeat(1025), "password"),
    ] {
        let problem = app
            .ask(sign_in(&account, &password))
            .await
            .problem(400, "invalid");
        assert_eq!(problem.fields.keys().collect::<Vec<_>>(), [field]);
    }
}

#[tokio::test]
async fn extreme_token_lifetimes_never_break_lists() {
    let app = App::start().await;
    let ann = app.account("ann", Role::User).await;
    for ttl in [json!(0), json!(i64::MAX), json!(u64::MAX), json!(315_360_001)] {
        let made = app
            .post(&ann, "/api/v1/tokens", json!({ "name": "x", "ttl_seconds": ttl }))
            .await;
        assert!(
            made.problem(400, "invalid").fields.contains_key("ttl_seconds"),
            "{ttl}"
        );
    }
    let made = app
        .post(
            &ann,
            "/api/v1/tokens",
            json!({ "name": "x", "ttl_seconds": 315_360_000 }),
        )
        .await;
    made.read::<TokenMade>(StatusCode::CREATED);
    for token in [&ann, &app.admin] {
        let page: Page<Token> = app.get(token, "/api/v1/tokens").await.read(StatusCode::OK);
        assert_eq!(page.items.iter().filter(|token| token.name == "x").count(), 1);
    }
}

#[tokio::test]
async fn a_new_password_revokes_tokens() {
    let app = App::start().await;
    let token = app.account("ann", Role::User).await;
    app.get(&token, "/api/v1/session")
        .await
        .read::<WhoAmI>(StatusCode::OK);
    app.password("ann", PASSWORD).await;
    app.get(&token, "/api/v1/session")
        .await
        .problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_one_time_link_works_once() {
    let app = App::start().await;
    app.account("ann", Role::User).await;
    let made = app
        .post(&app.admin, "/api/v1/accounts/ann/reset-link", json!({}))
        .await;
    let ResetLink { link } = made.read(StatusCode::CREATED);
    let set = |password: &str| {
        request(
            None,
            Method::POST,
            "/api/v1/password",
            Some(json!({ "link": link, "password": password })),
        )
    };
    assert!(
        app.ask(set("short"))
            .await
            .problem(400, "invalid")
            .fields
            .contains_key("password")
    );
    assert_eq!(app.ask(set(PASSWORD)).await.status, 200);
    assert!(
        app.ask(set(PASSWORD))
            .await
            .problem(400, "invalid")
            .fields
            .contains_key("link")
    );
}

#[tokio::test]
async fn a_token_secret_is_shown_once_and_can_be_revoked() {
    let app = App::start().await;
    let ann = app.account("ann", Role::User).await;
    let made: TokenMade = app
        .post(&ann, "/api/v1/tokens", json!({ "name": "ci" }))
        .await
        .read(StatusCode::CREATED);
    let listed = app.get(&ann, "/api/v1/tokens").await;
    let page: Page<Token> = listed.read(StatusCode::OK);
    assert!(page.items.iter().any(|token| token.id == made.token.id));
    assert!(!String::from_utf8_lossy(&listed.body).contains(&made.secret));
    assert_eq!(app.get(&made.secret, "/api/v1/session").await.status, 200);
    let ended = app
        .call(
            &ann,
            Method::DELETE,
            &format!("/api/v1/tokens/{}", made.token.id),
            None,
        )
        .await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    app.get(&made.secret, "/api/v1/session")
        .await
        .problem(401, "unauthenticated");
}
