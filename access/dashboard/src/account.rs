//! Sign-in and sign-out, and the caller's own account: password, tokens, theme.

use crate::{
    action_preview::ActionPreview,
    confirm::{self, Confirm},
    error::{PageResult, Rejection},
    form::Form,
    page::{self, Frame},
    redirect::{safe_redirect, see_other},
    request::{AuthedRequest, RequestInfo},
    session,
    state::App,
};
use askama::Template;
use axum::{
    extract::{Path, State},
    response::IntoResponse,
};
use chainpool_api as api;
use chainpool_orchestrator::Error;
use http::StatusCode;
use uuid::Uuid;

#[derive(Template)]
#[template(path = "account/sign_in.html")]
struct SignInPage {
    frame: Frame,
    form: Form,
}

/// The sign-in form.
pub(crate) async fn sign_in_page(info: RequestInfo) -> PageResult {
    let form = Form::filled([("next", info.query("next").unwrap_or_default())]);
    page::html(&SignInPage {
        frame: Frame::guest(&info, "Sign in"),
        form,
    })
}

/// Signs in and redirects to the page that was requested first.
pub(crate) async fn sign_in(State(app): State<App>, info: RequestInfo, form: Form) -> PageResult {
    let sign_in = api::SignIn {
        account: form.text("account").unwrap_or_default(),
        password: form.get("password").to_owned(),
    };
    match app.orchestrator.sign_in(sign_in, &info.client_address).await {
        Ok(session) => {
            let next = form.text("next");
            Ok(session::start(
                see_other(safe_redirect(next.as_deref())),
                &session,
                &info,
            ))
        }
        Err(error) => {
            let error = match error {
                Error::Unauthenticated => Error::field("password", "incorrect account or password"),
                other => other,
            };
            let form = form.rejected(error, &info)?;
            let status = form
                .problem
                .as_ref()
                .map_or(StatusCode::UNAUTHORIZED, |rejection| rejection.status);
            Ok((
                status,
                page::html(&SignInPage {
                    frame: Frame::guest(&info, "Sign in"),
                    form,
                })?,
            )
                .into_response())
        }
    }
}

/// Asks for confirmation, for callers who open the address directly.
pub(crate) async fn sign_out_preview(State(app): State<App>, request: AuthedRequest) -> PageResult {
    let confirm = Confirm {
        heading: "Sign out".into(),
        verb: "Sign out".into(),
        preview: ActionPreview {
            keeps: vec!["your leases and tokens".into()],
            ..ActionPreview::default()
        },
        action: "/sign-out".into(),
        back: "/status".into(),
        ..Confirm::default()
    };
    confirm::ask(
        Frame::new(&app, &request, "", "Sign out")
            .await
            .crumb("Sign out", ""),
        confirm,
        Form::default(),
    )
}

/// Ends the session.
pub(crate) async fn sign_out(State(app): State<App>, request: AuthedRequest) -> PageResult {
    if let Some(secret) = &request.info.secret {
        app.orchestrator.sign_out(secret).await?;
    }
    Ok(session::end(see_other("/sign-in?done=signed_out"), &request.info))
}

#[derive(Template)]
#[template(path = "account/welcome.html")]
struct WelcomePage {
    frame: Frame,
    form: Form,
    /// The account whose password is set; empty while the link is unknown.
    account: String,
}

/// The page of a one-time link whose secret is in the query or in the URL fragment. The script reads the
/// fragment, which browsers do not send.
pub(crate) async fn welcome(State(app): State<App>, info: RequestInfo) -> PageResult {
    let link = info.query("link").unwrap_or_default();
    render_welcome(&app, &info, Form::filled([("link", link)])).await
}

/// The page of a one-time link whose secret is in the path.
pub(crate) async fn welcome_path(
    State(app): State<App>,
    info: RequestInfo,
    Path(link): Path<String>,
) -> PageResult {
    render_welcome(&app, &info, Form::filled([("link", link)])).await
}

async fn render_welcome(app: &App, info: &RequestInfo, mut form: Form) -> PageResult {
    let mut account = String::new();
    if let Some(link) = form.text("link") {
        match app.orchestrator.link_account(&link).await {
            Ok(name) => account = name,
            Err(error) if form.problem.is_none() => form = form.rejected(error, info)?,
            Err(_) => {}
        }
    }
    let status = form
        .problem
        .as_ref()
        .map_or(StatusCode::OK, |rejection| rejection.status);
    let frame = Frame::guest(info, "Set a password");
    Ok((status, page::html(&WelcomePage { frame, form, account })?).into_response())
}

/// Sets the password and signs in.
pub(crate) async fn password_set(State(app): State<App>, info: RequestInfo, form: Form) -> PageResult {
    let password = form.get("password").to_owned();
    let set = if password == form.get("password_again") {
        let link = form.text("link").unwrap_or_default();
        app.orchestrator
            .password_set(api::PasswordSet { link, password }, &info.client_address)
            .await
    } else {
        Err(Error::field(
            "password_again",
            "does not match the first password",
        ))
    };
    match set {
        Ok(session) => Ok(session::start(see_other("/status"), &session, &info)),
        Err(error) => render_welcome(&app, &info, form.rejected(error, &info)?).await,
    }
}

/// Stores the theme: light, dark or auto.
pub(crate) async fn theme(info: RequestInfo, form: Form) -> PageResult {
    let theme = match form.get("theme") {
        "light" => "light",
        "dark" => "dark",
        _ => "auto",
    };
    let back = form.text("back");
    Ok(session::remember_theme(
        see_other(safe_redirect(back.as_deref())),
        theme,
        &info,
    ))
}

#[derive(Template)]
#[template(path = "account/show.html")]
struct AccountPage {
    frame: Frame,
    form: Form,
    request: AuthedRequest,
    tokens: Vec<api::Token>,
    created: Option<api::TokenMade>,
}

/// The caller's own account.
pub(crate) async fn show(State(app): State<App>, request: AuthedRequest) -> PageResult {
    render(&app, request, Form::default(), None).await
}

async fn render(
    app: &App,
    request: AuthedRequest,
    form: Form,
    created: Option<api::TokenMade>,
) -> PageResult {
    let all = app.orchestrator.token_list(&request.caller).await?;
    let tokens = all
        .into_iter()
        .filter(|token| token.account == request.caller.account)
        .collect();
    let status = form
        .problem
        .as_ref()
        .map_or(StatusCode::OK, |rejection| rejection.status);
    let frame = Frame::new(app, &request, "", "Account")
        .await
        .crumb("Account", "/account");
    Ok((
        status,
        page::html(&AccountPage {
            frame,
            form,
            request,
            tokens,
            created,
        })?,
    )
        .into_response())
}

/// Creates a token and shows its secret once.
pub(crate) async fn token_create(State(app): State<App>, request: AuthedRequest, form: Form) -> PageResult {
    match create_token(&app, &request, &form).await {
        Ok(created) => render(&app, request, Form::default(), Some(created)).await,
        Err(error) => {
            let form = form.rejected(error, &request.info)?;
            render(&app, request, form, None).await
        }
    }
}

/// Creates the token that a form describes.
pub(crate) async fn create_token(
    app: &App,
    request: &AuthedRequest,
    form: &Form,
) -> Result<api::TokenMade, Error> {
    let mut reader = form.reader();
    let days = reader.number::<u64>("days");
    let new = reader.finish(api::TokenCreate {
        name: form.text("token_name").unwrap_or_default(),
        lease_any: form.ticked("lease_any"),
        account: form.text("account"),
        ttl_seconds: days.map(|days| days.saturating_mul(86_400)),
    })?;
    app.orchestrator
        .token_create(&form.caller(request), new)
        .await
        .map_err(at_fields)
}

/// Moves field errors of a token to the fields of its form. The admin page already has a field `name`.
fn at_fields(error: Error) -> Error {
    let Error::Invalid(mut problem) = error else {
        return error;
    };
    for (api_field, form_field) in [("name", "token_name"), ("ttl_seconds", "days")] {
        if let Some(why) = problem.fields.remove(api_field) {
            problem.fields.insert(form_field.to_owned(), why);
        }
    }
    Error::Invalid(problem)
}

/// Asks for confirmation before a token is deleted.
pub(crate) async fn token_delete_preview(
    State(app): State<App>,
    request: AuthedRequest,
    Path(token): Path<Uuid>,
) -> PageResult {
    ask_token_delete(&app, &request, token, Form::default()).await
}

async fn ask_token_delete(app: &App, request: &AuthedRequest, token: Uuid, form: Form) -> PageResult {
    let token = find_token(app, request, token).await?;
    let confirm = Confirm {
        heading: format!("Delete token {}", token.name),
        verb: "Delete".into(),
        preview: ActionPreview {
            deletes: vec![format!(
                "token {} of {}; programs that use it lose access",
                token.name, token.account
            )],
            keeps: vec!["all leases created with it".into()],
            ..ActionPreview::default()
        },
        typed: token.name.clone(),
        danger: true,
        action: confirm::same_address(request),
        back: tokens_page(request, &token).to_owned(),
        ..Confirm::default()
    };
    confirm::ask(
        Frame::new(app, request, "", "Delete token")
            .await
            .crumb("Token", ""),
        confirm,
        form,
    )
}

/// Deletes a token.
pub(crate) async fn token_delete(
    State(app): State<App>,
    request: AuthedRequest,
    Path(token): Path<Uuid>,
    form: Form,
) -> PageResult {
    let found = find_token(&app, &request, token).await?;
    let deleted = match confirm::typed(&form, &found.name) {
        Ok(()) => app.orchestrator.token_delete(&form.caller(&request), token).await,
        Err(error) => Err(error),
    };
    match deleted {
        Ok(()) => Ok(see_other(&format!(
            "{}?done=token_deleted",
            tokens_page(&request, &found)
        ))),
        Err(error) => {
            ask_token_delete(
                &app,
                &request,
                token,
                confirm::rejected(form, error, &request.info)?,
            )
            .await
        }
    }
}

fn tokens_page(request: &AuthedRequest, token: &api::Token) -> &'static str {
    if token.account == request.caller.account {
        "/account"
    } else {
        "/admin"
    }
}

async fn find_token(app: &App, request: &AuthedRequest, id: Uuid) -> Result<api::Token, Rejection> {
    let all = app.orchestrator.token_list(&request.caller).await?;
    all.into_iter()
        .find(|token| token.id == id)
        .ok_or_else(|| Error::not_found("token", id.to_string()).into())
}
