//! Getting in and out, and one's own account: sign-in, first password, tokens, theme.

use crate::{
    confirm::{self, Confirm},
    error::{Outcome, Refused},
    form::Form,
    page::{self, Frame, see_other},
    plan::Plan,
    session::{self, Manner, Visit},
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
pub(crate) async fn sign_in_page(manner: Manner) -> Outcome {
    let form = Form::filled([("next", manner.query("next").unwrap_or_default())]);
    page::html(&SignInPage {
        frame: Frame::guest(&manner, "Sign in"),
        form,
    })
}

/// Signs in and goes on to where one wanted to be.
pub(crate) async fn sign_in(State(app): State<App>, manner: Manner, form: Form) -> Outcome {
    let sign_in = api::SignIn {
        account: form.text("account").unwrap_or_default(),
        password: form.get("password").to_owned(),
    };
    match app.orchestrator.sign_in(sign_in, &manner.from).await {
        Ok(session) => {
            let next = form.text("next");
            Ok(session::begin(
                see_other(session::local(next.as_deref())),
                &session,
                &manner,
            ))
        }
        Err(error) => {
            let error = match error {
                Error::Unauthenticated => {
                    Error::field("password", "account and password do not belong together")
                }
                other => other,
            };
            let form = form.refused(error, &manner)?;
            let status = form
                .problem
                .as_ref()
                .map_or(StatusCode::UNAUTHORIZED, |refused| refused.status);
            Ok((
                status,
                page::html(&SignInPage {
                    frame: Frame::guest(&manner, "Sign in"),
                    form,
                })?,
            )
                .into_response())
        }
    }
}

/// Asks before signing out, for those who come here by an address.
pub(crate) async fn sign_out_plan(State(app): State<App>, visit: Visit) -> Outcome {
    let confirm = Confirm {
        heading: "Sign out".into(),
        verb: "Sign out".into(),
        plan: Plan {
            keeps: vec!["your leases and tokens".into()],
            ..Plan::default()
        },
        action: "/sign-out".into(),
        back: "/status".into(),
        ..Confirm::default()
    };
    confirm::ask(
        Frame::new(&app, &visit, "", "Sign out")
            .await
            .crumb("Sign out", ""),
        confirm,
        Form::default(),
    )
}

/// Ends the session.
pub(crate) async fn sign_out(State(app): State<App>, visit: Visit) -> Outcome {
    if let Some(secret) = &visit.manner.secret {
        app.orchestrator.sign_out(secret).await?;
    }
    Ok(session::end(see_other("/sign-in?done=signed_out"), &visit.manner))
}

#[derive(Template)]
#[template(path = "account/welcome.html")]
struct WelcomePage {
    frame: Frame,
    form: Form,
    /// Whose password is set, when the link is known already.
    account: String,
}

/// The page of a one-time link whose secret is in the query, or in the part of the address that browsers keep for
/// themselves; the script takes it from there.
pub(crate) async fn welcome(State(app): State<App>, manner: Manner) -> Outcome {
    let link = manner.query("link").unwrap_or_default();
    draw_welcome(&app, &manner, Form::filled([("link", link)])).await
}

/// The page of a one-time link whose secret is in the path.
pub(crate) async fn welcome_path(
    State(app): State<App>,
    manner: Manner,
    Path(link): Path<String>,
) -> Outcome {
    draw_welcome(&app, &manner, Form::filled([("link", link)])).await
}

async fn draw_welcome(app: &App, manner: &Manner, mut form: Form) -> Outcome {
    let mut account = String::new();
    if let Some(link) = form.text("link") {
        match app.orchestrator.link_account(&link).await {
            Ok(name) => account = name,
            Err(error) if form.problem.is_none() => form = form.refused(error, manner)?,
            Err(_) => {}
        }
    }
    let status = form
        .problem
        .as_ref()
        .map_or(StatusCode::OK, |refused| refused.status);
    let frame = Frame::guest(manner, "Set a password");
    Ok((status, page::html(&WelcomePage { frame, form, account })?).into_response())
}

/// Sets the password and signs in.
pub(crate) async fn password_set(State(app): State<App>, manner: Manner, form: Form) -> Outcome {
    let password = form.get("password").to_owned();
    let set = if password == form.get("password_again") {
        let link = form.text("link").unwrap_or_default();
        app.orchestrator
            .password_set(api::PasswordSet { link, password }, &manner.from)
            .await
    } else {
        Err(Error::field("password_again", "is not the same as the first"))
    };
    match set {
        Ok(session) => Ok(session::begin(see_other("/status"), &session, &manner)),
        Err(error) => draw_welcome(&app, &manner, form.refused(error, &manner)?).await,
    }
}

/// Remembers light, dark, or as the system has it.
pub(crate) async fn theme(manner: Manner, form: Form) -> Outcome {
    let theme = match form.get("theme") {
        "light" => "light",
        "dark" => "dark",
        _ => "auto",
    };
    let back = form.text("back");
    Ok(session::remember_theme(
        see_other(session::local(back.as_deref())),
        theme,
        &manner,
    ))
}

#[derive(Template)]
#[template(path = "account/show.html")]
struct AccountPage {
    frame: Frame,
    form: Form,
    visit: Visit,
    tokens: Vec<api::Token>,
    made: Option<api::TokenMade>,
}

/// One's own account.
pub(crate) async fn show(State(app): State<App>, visit: Visit) -> Outcome {
    draw(&app, visit, Form::default(), None).await
}

async fn draw(app: &App, visit: Visit, form: Form, made: Option<api::TokenMade>) -> Outcome {
    let all = app.orchestrator.token_list(&visit.caller).await?;
    let tokens = all
        .into_iter()
        .filter(|token| token.account == visit.caller.account)
        .collect();
    let status = form
        .problem
        .as_ref()
        .map_or(StatusCode::OK, |refused| refused.status);
    let frame = Frame::new(app, &visit, "", "Account")
        .await
        .crumb("Account", "/account");
    Ok((
        status,
        page::html(&AccountPage {
            frame,
            form,
            visit,
            tokens,
            made,
        })?,
    )
        .into_response())
}

/// Makes a token and shows its secret, once.
pub(crate) async fn token_create(State(app): State<App>, visit: Visit, form: Form) -> Outcome {
    match make_token(&app, &visit, &form).await {
        Ok(made) => draw(&app, visit, Form::default(), Some(made)).await,
        Err(error) => {
            let form = form.refused(error, &visit.manner)?;
            draw(&app, visit, form, None).await
        }
    }
}

/// Makes the token that a form asks for.
pub(crate) async fn make_token(app: &App, visit: &Visit, form: &Form) -> Result<api::TokenMade, Error> {
    let mut reader = form.reader();
    let days = reader.number::<u64>("days");
    let new = reader.finish(api::TokenCreate {
        name: form.text("token_name").unwrap_or_default(),
        lease_any: form.ticked("lease_any"),
        account: form.text("account"),
        ttl_seconds: days.map(|days| days.saturating_mul(86_400)),
    })?;
    app.orchestrator
        .token_create(&form.caller(visit), new)
        .await
        .map_err(at_fields)
}

/// What is wrong with a token, at the fields of its form: the page with accounts has a field `name` already.
fn at_fields(error: Error) -> Error {
    let Error::Invalid(mut problem) = error else {
        return error;
    };
    for (theirs, ours) in [("name", "token_name"), ("ttl_seconds", "days")] {
        if let Some(why) = problem.fields.remove(theirs) {
            problem.fields.insert(ours.to_owned(), why);
        }
    }
    Error::Invalid(problem)
}

/// Asks before a token is removed.
pub(crate) async fn token_delete_plan(
    State(app): State<App>,
    visit: Visit,
    Path(token): Path<Uuid>,
) -> Outcome {
    ask_token_delete(&app, &visit, token, Form::default()).await
}

async fn ask_token_delete(app: &App, visit: &Visit, token: Uuid, form: Form) -> Outcome {
    let token = find_token(app, visit, token).await?;
    let confirm = Confirm {
        heading: format!("Delete token {}", token.name),
        verb: "Delete".into(),
        plan: Plan {
            deletes: vec![format!(
                "the token {} of {}: programs that use it are refused from then on",
                token.name, token.account
            )],
            keeps: vec!["all leases that were made with it".into()],
            ..Plan::default()
        },
        typed: token.name.clone(),
        danger: true,
        action: confirm::same_address(visit),
        back: home_of_tokens(visit, &token).to_owned(),
        ..Confirm::default()
    };
    confirm::ask(
        Frame::new(app, visit, "", "Delete token")
            .await
            .crumb("Token", ""),
        confirm,
        form,
    )
}

/// Removes a token.
pub(crate) async fn token_delete(
    State(app): State<App>,
    visit: Visit,
    Path(token): Path<Uuid>,
    form: Form,
) -> Outcome {
    let found = find_token(&app, &visit, token).await?;
    let deleted = match confirm::typed(&form, &found.name) {
        Ok(()) => app.orchestrator.token_delete(&form.caller(&visit), token).await,
        Err(error) => Err(error),
    };
    match deleted {
        Ok(()) => Ok(see_other(&format!(
            "{}?done=token_deleted",
            home_of_tokens(&visit, &found)
        ))),
        Err(error) => {
            ask_token_delete(&app, &visit, token, confirm::refused(form, error, &visit.manner)?).await
        }
    }
}

fn home_of_tokens(visit: &Visit, token: &api::Token) -> &'static str {
    if token.account == visit.caller.account {
        "/account"
    } else {
        "/admin"
    }
}

async fn find_token(app: &App, visit: &Visit, id: Uuid) -> Result<api::Token, Refused> {
    let all = app.orchestrator.token_list(&visit.caller).await?;
    all.into_iter()
        .find(|token| token.id == id)
        .ok_or_else(|| Error::not_found("token", id.to_string()).into())
}
