//! Accounts, sessions, tokens.

use crate::{
    auth::{Auth, Bearer, From},
    body::{Asked, Open},
    error::{Answer, Refusal},
    query::{Path, id},
    state::Server,
};
use axum::{Json, extract::State};
use chainpool_api::{
    Account, AccountCreate, Page, PasswordSet, Problem, ResetLink, Session, SignIn, Token, TokenCreate,
    TokenMade, WhoAmI,
};
use chainpool_orchestrator::Error;
use http::StatusCode;

/// Signs in.
///
/// Open, because nobody has a token before it; tries are limited by account and address.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "accounts", request_body = SignIn, security(()),
    responses(
        (status = 201, description = "The session.", body = Session),
        (status = 401, description = "The account or the password is wrong.", body = Problem),
    )
)]
pub(crate) async fn session_create(
    State(server): State<Server>,
    From(from): From,
    Open(sign_in): Open<SignIn>,
) -> Answer<(StatusCode, Json<Session>)> {
    match server.orchestrator.sign_in(sign_in, &from).await {
        Ok(session) => Ok((StatusCode::CREATED, Json(session))),
        // To somebody who is signing in, "sign in" is no help.
        Err(Error::Unauthenticated) => {
            let message =
                "the account or its password is wrong; an admin can make a one-time link that sets another";
            Err(Refusal::new(StatusCode::UNAUTHORIZED, "wrong_password", message))
        }
        Err(error) => Err(error.into()),
    }
}

/// Shows who the caller is.
#[utoipa::path(
    get, path = "/api/v1/session", tag = "accounts",
    responses((status = 200, description = "The account and what it may do.", body = WhoAmI))
)]
pub(crate) async fn session_show(Auth(caller): Auth) -> Json<WhoAmI> {
    Json(WhoAmI {
        account: caller.account,
        role: caller.role,
        lease_any: caller.lease_any,
    })
}

/// Signs out.
///
/// Its token is good for nothing from then on.
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "accounts",
    responses((status = 204, description = "The session is over."))
)]
pub(crate) async fn session_delete(
    State(server): State<Server>,
    _caller: Auth,
    Bearer(secret): Bearer,
) -> Answer<StatusCode> {
    server.orchestrator.sign_out(&secret).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets a password by a one-time link.
///
/// And signs in. The account's other sessions and its tokens end. Open, because the link itself is the proof.
#[utoipa::path(
    post, path = "/api/v1/password", tag = "accounts", request_body = PasswordSet, security(()),
    responses(
        (status = 200, description = "A session.", body = Session),
    )
)]
pub(crate) async fn password_set(
    State(server): State<Server>,
    From(from): From,
    Open(set): Open<PasswordSet>,
) -> Answer<Json<Session>> {
    Ok(Json(server.orchestrator.password_set(set, &from).await?))
}

/// Lists accounts.
#[utoipa::path(
    get, path = "/api/v1/accounts", tag = "accounts",
    responses(
        (status = 200, description = "All of them.", body = Page<Account>),
        (status = 403, description = "Only admins see accounts.", body = Problem),
    )
)]
pub(crate) async fn account_list(
    State(server): State<Server>,
    Auth(caller): Auth,
) -> Answer<Json<Page<Account>>> {
    Ok(Json(Page {
        items: server.orchestrator.account_list(&caller).await?,
        next: None,
    }))
}

/// Makes an account.
///
/// It has no password until its owner sets one by a one-time link.
#[utoipa::path(
    post, path = "/api/v1/accounts", tag = "accounts", request_body = AccountCreate,
    responses(
        (status = 201, description = "The account.", body = Account),
        (status = 403, description = "Only admins make accounts.", body = Problem),
        (status = 409, description = "The name is taken.", body = Problem),
    )
)]
pub(crate) async fn account_create(
    State(server): State<Server>,
    Asked { caller, body }: Asked<AccountCreate>,
) -> Answer<(StatusCode, Json<Account>)> {
    Ok((
        StatusCode::CREATED,
        Json(server.orchestrator.account_create(&caller, body).await?),
    ))
}

/// Removes an account.
///
/// Its sessions and tokens end with it. Refused while it holds clusters.
#[utoipa::path(
    delete, path = "/api/v1/accounts/{account}", tag = "accounts", params(("account" = String, Path, description = "Its name or id.")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 403, description = "Only admins remove accounts.", body = Problem),
        (status = 409, description = "It holds clusters, or is the caller's own.", body = Problem),
    )
)]
pub(crate) async fn account_delete(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(account): Path<String>,
) -> Answer<StatusCode> {
    server.orchestrator.account_delete(&caller, &account).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a one-time link.
///
/// Whoever has it sets the account's password, once, within an hour.
#[utoipa::path(
    post, path = "/api/v1/accounts/{account}/reset-link", tag = "accounts", params(("account" = String, Path, description = "Its name or id.")),
    responses(
        (status = 201, description = "The link's secret part, shown once.", body = ResetLink),
        (status = 403, description = "Only admins make links.", body = Problem),
    )
)]
pub(crate) async fn account_reset_link(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(account): Path<String>,
) -> Answer<(StatusCode, Json<ResetLink>)> {
    let link = server.orchestrator.account_reset_link(&caller, &account).await?;
    Ok((StatusCode::CREATED, Json(ResetLink { link })))
}

/// Lists tokens.
///
/// The caller's own; an admin's list holds all. Never their secrets.
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "accounts",
    responses((status = 200, description = "The tokens.", body = Page<Token>))
)]
pub(crate) async fn token_list(
    State(server): State<Server>,
    Auth(caller): Auth,
) -> Answer<Json<Page<Token>>> {
    Ok(Json(Page {
        items: server.orchestrator.token_list(&caller).await?,
        next: None,
    }))
}

/// Makes a token.
///
/// For a program. Its secret is shown once. A token makes none that outlives it or has more scope; a session may make any.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "accounts", request_body = TokenCreate,
    responses(
        (status = 201, description = "The token with its secret.", body = TokenMade),
        (status = 403, description = "For another account, or for other holders, and the caller may not.", body = Problem),
        (status = 409, description = "The account has 100 tokens.", body = Problem),
    )
)]
pub(crate) async fn token_create(
    State(server): State<Server>,
    Asked { caller, body }: Asked<TokenCreate>,
) -> Answer<(StatusCode, Json<TokenMade>)> {
    Ok((
        StatusCode::CREATED,
        Json(server.orchestrator.token_create(&caller, body).await?),
    ))
}

/// Ends a token.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{token}", tag = "accounts", params(("token" = Uuid, Path, description = "Its id.")),
    responses((status = 204, description = "It is good for nothing from now on."))
)]
pub(crate) async fn token_delete(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(token): Path<String>,
) -> Answer<StatusCode> {
    server
        .orchestrator
        .token_delete(&caller, id("token", &token)?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
