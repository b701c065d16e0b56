//! Routes of accounts, sessions and API tokens.

use crate::{
    auth::{Auth, Bearer},
    body::{AuthedJson, PublicJson},
    client_address::ClientAddress,
    error::{ApiError, ApiResult},
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

/// Sign in.
///
/// Public. Attempts are limited by account and address.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "accounts", request_body = SignIn, security(()),
    responses(
        (status = 201, description = "New session, with its secret.", body = Session),
        (status = 401, description = "Wrong account or password.", body = Problem),
    )
)]
pub(crate) async fn session_create(
    State(server): State<Server>,
    ClientAddress(address): ClientAddress,
    PublicJson(sign_in): PublicJson<SignIn>,
) -> ApiResult<(StatusCode, Json<Session>)> {
    match server.orchestrator.sign_in(sign_in, &address).await {
        Ok(session) => Ok((StatusCode::CREATED, Json(session))),
        // The default message, "sign in", does not help here.
        Err(Error::Unauthenticated) => {
            let message =
                "wrong account or password; an admin can create a one-time link to set a new password";
            Err(ApiError::new(StatusCode::UNAUTHORIZED, "wrong_password", message))
        }
        Err(error) => Err(error.into()),
    }
}

/// Show the caller's account.
#[utoipa::path(
    get, path = "/api/v1/session", tag = "accounts",
    responses((status = 200, description = "Account and permissions.", body = WhoAmI))
)]
pub(crate) async fn session_show(Auth(caller): Auth) -> Json<WhoAmI> {
    Json(WhoAmI {
        account: caller.account,
        role: caller.role,
        lease_any: caller.lease_any,
    })
}

/// Sign out.
///
/// Revokes the session's token.
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "accounts",
    responses((status = 204, description = "Session ended."))
)]
pub(crate) async fn session_delete(
    State(server): State<Server>,
    _caller: Auth,
    Bearer(secret): Bearer,
) -> ApiResult<StatusCode> {
    server.orchestrator.sign_out(&secret).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Set a password by a one-time link.
///
/// Public; the link is the credential. Signs in, and revokes the account's other sessions and its API tokens.
#[utoipa::path(
    post, path = "/api/v1/password", tag = "accounts", request_body = PasswordSet, security(()),
    responses(
        (status = 200, description = "New session, with its secret.", body = Session),
    )
)]
pub(crate) async fn password_set(
    State(server): State<Server>,
    ClientAddress(address): ClientAddress,
    PublicJson(set): PublicJson<PasswordSet>,
) -> ApiResult<Json<Session>> {
    Ok(Json(server.orchestrator.password_set(set, &address).await?))
}

/// List accounts.
#[utoipa::path(
    get, path = "/api/v1/accounts", tag = "accounts",
    responses(
        (status = 200, description = "All accounts.", body = Page<Account>),
        (status = 403, description = "Role admin required.", body = Problem),
    )
)]
pub(crate) async fn account_list(
    State(server): State<Server>,
    Auth(caller): Auth,
) -> ApiResult<Json<Page<Account>>> {
    Ok(Json(Page {
        items: server.orchestrator.account_list(&caller).await?,
        next: None,
    }))
}

/// Create an account.
///
/// The account has no password until its owner sets one through a one-time link.
#[utoipa::path(
    post, path = "/api/v1/accounts", tag = "accounts", request_body = AccountCreate,
    responses(
        (status = 201, description = "New account.", body = Account),
        (status = 403, description = "Role admin required.", body = Problem),
        (status = 409, description = "Name already in use.", body = Problem),
    )
)]
pub(crate) async fn account_create(
    State(server): State<Server>,
    AuthedJson { caller, body }: AuthedJson<AccountCreate>,
) -> ApiResult<(StatusCode, Json<Account>)> {
    Ok((
        StatusCode::CREATED,
        Json(server.orchestrator.account_create(&caller, body).await?),
    ))
}

/// Delete an account.
///
/// Revokes its sessions and API tokens. Requires an account without leases.
#[utoipa::path(
    delete, path = "/api/v1/accounts/{account}", tag = "accounts", params(("account" = String, Path, description = "Account name or id.")),
    responses(
        (status = 204, description = "Account deleted."),
        (status = 403, description = "Role admin required.", body = Problem),
        (status = 409, description = "Account has leases, or is the caller's own.", body = Problem),
    )
)]
pub(crate) async fn account_delete(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(account): Path<String>,
) -> ApiResult<StatusCode> {
    server.orchestrator.account_delete(&caller, &account).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Create a one-time link.
///
/// The link sets the account's password once, within 1 hour.
#[utoipa::path(
    post, path = "/api/v1/accounts/{account}/reset-link", tag = "accounts", params(("account" = String, Path, description = "Account name or id.")),
    responses(
        (status = 201, description = "Secret part of the link, shown once.", body = ResetLink),
        (status = 403, description = "Role admin required.", body = Problem),
    )
)]
pub(crate) async fn account_reset_link(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(account): Path<String>,
) -> ApiResult<(StatusCode, Json<ResetLink>)> {
    let link = server.orchestrator.account_reset_link(&caller, &account).await?;
    Ok((StatusCode::CREATED, Json(ResetLink { link })))
}

/// List API tokens.
///
/// The caller's own tokens, or all tokens for admins; without secrets.
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "accounts",
    responses((status = 200, description = "API tokens.", body = Page<Token>))
)]
pub(crate) async fn token_list(
    State(server): State<Server>,
    Auth(caller): Auth,
) -> ApiResult<Json<Page<Token>>> {
    Ok(Json(Page {
        items: server.orchestrator.token_list(&caller).await?,
        next: None,
    }))
}

/// Create an API token.
///
/// The secret is shown once. A caller with an API token cannot create tokens with a longer lifetime or more
/// scope; a session can create any.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "accounts", request_body = TokenCreate,
    responses(
        (status = 201, description = "New token, with its secret.", body = TokenMade),
        (status = 403, description = "Role admin required for another account or `lease_any`; a token cannot grant a scope that it lacks.", body = Problem),
        (status = 409, description = "Account already has 100 tokens, the maximum.", body = Problem),
    )
)]
pub(crate) async fn token_create(
    State(server): State<Server>,
    AuthedJson { caller, body }: AuthedJson<TokenCreate>,
) -> ApiResult<(StatusCode, Json<TokenMade>)> {
    Ok((
        StatusCode::CREATED,
        Json(server.orchestrator.token_create(&caller, body).await?),
    ))
}

/// Revoke an API token.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{token}", tag = "accounts", params(("token" = Uuid, Path, description = "Token id.")),
    responses((status = 204, description = "Token revoked."))
)]
pub(crate) async fn token_delete(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(token): Path<String>,
) -> ApiResult<StatusCode> {
    server
        .orchestrator
        .token_delete(&caller, id("token", &token)?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
