//! What the API says of itself: from the handlers, and what holds for all of them added in one place.

use crate::routes;
use chainpool_api::{
    ClusterState, Event, HealthState, HostState, LeaseState, Noun, Operation, OperationKind, OperationState, Platform, Problem,
};
use utoipa::{
    OpenApi as _,
    openapi::{
        Content, OpenApi, Ref, RefOr, Required, ResponseBuilder, Server,
        path::{Operation as Route, ParameterBuilder, ParameterIn, PathItem},
        schema::{ObjectBuilder, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

/// The frame of the description. The enums are those that stand only in queries or in event streams, where utoipa does
/// not look for them.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Chainpool", description = "A pool of ready blockchain networks on machines you own."),
    tags(
        (name = "hosts", description = "The machines that clusters run on."),
        (name = "clusters", description = "One blockchain network each."),
        (name = "leases", description = "Who holds which cluster until when."),
        (name = "operations", description = "What was accepted, how far it is, how it ended; and what changes."),
        (name = "accounts", description = "Accounts, sessions, tokens."),
        (name = "status", description = "The state of the whole, and what can be made."),
    ),
    components(schemas(
        ClusterState, Event, HealthState, HostState, LeaseState, Noun, Operation, OperationKind, OperationState, Platform, Problem
    ))
)]
struct Base;

/// The description before any route is added.
pub(crate) fn base() -> OpenApi {
    Base::openapi()
}

/// The refusals that follow from how a route is made, as they are named in the components.
const REFUSALS: [(&str, &str, &str); 9] = [
    ("400", "Invalid", "Something in the request is wrong; `fields` names it."),
    ("401", "Unauthenticated", "Nobody knows who asks: send `Authorization: Bearer …`."),
    ("404", "NotFound", "There is no such thing, or it is not the caller's."),
    ("413", "TooLarge", "The body is larger than 1 MiB, or than 8 KiB where nobody needs to be signed in."),
    ("422", "KeyReused", "The idempotency key was used for another request."),
    ("429", "TooMany", "Too many requests; `Retry-After` says when to try again."),
    ("500", "Internal", "Our fault; the server's log has the cause under `request_id`."),
    ("503", "Unavailable", "A platform that is needed does not answer, or the answer took too long."),
    ("507", "StorageFull", "The server's disk is full; nothing was changed."),
];

/// The description as JSON.
///
/// # Panics
/// Never: the description is built from texts alone.
pub fn openapi_json() -> String {
    openapi_json_at("")
}

/// The description as JSON, of an API whose paths begin below a path.
pub(crate) fn openapi_json_at(base: &str) -> String {
    let mut openapi = routes::all().into_openapi();
    finish(&mut openapi);
    if !base.is_empty() {
        openapi.servers = Some(vec![Server::new(base)]);
    }
    let mut text = openapi.to_pretty_json().expect("the description has text keys only");
    text.push('\n');
    text
}

/// Adds what holds for all routes.
fn finish(openapi: &mut OpenApi) {
    openapi.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new())]);
    let components = openapi.components.get_or_insert_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The token of a session or of a program.")).build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    for (_, name, about) in REFUSALS {
        let content = Content::new(Some(RefOr::<utoipa::openapi::Schema>::Ref(Ref::from_schema_name("Problem"))));
        let response = ResponseBuilder::new().description(about).content("application/json", content).build();
        components.responses.insert(name.to_owned(), response.into());
    }
    for (path, item) in &mut openapi.paths.paths {
        let PathItem { get, post, patch, delete, .. } = item;
        for (route, writes) in [(get, false), (post, true), (patch, true), (delete, true)] {
            if let Some(route) = route {
                complete(path, route, writes);
            }
        }
    }
}

/// Adds the refusals that follow from how a route is made, and the key that makes a repeated request the same.
fn complete(path: &str, route: &mut Route, writes: bool) {
    if path == "/healthz" {
        return;
    }
    let open = route.security.is_some();
    // The façade remembers the requests that begin something; the others change nothing when they come twice.
    let begins = route.operation_id.as_deref().is_some_and(|id| ["host_create", "lease_apply", "lease_release"].contains(&id));
    let keyed = begins || route.responses.responses.contains_key("202");
    if keyed {
        route.parameters.get_or_insert_default().push(idempotency_key().into());
    }
    let takes_body = route.request_body.is_some();
    let parameters = route.parameters.iter().flatten();
    let asks =
        parameters.filter(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in != ParameterIn::Path)).count() > 0;
    for (status, name, _) in REFUSALS {
        let may = match status {
            "400" => takes_body || asks,
            "401" => !open,
            "404" => path.contains('{'),
            "413" => takes_body,
            "422" => keyed,
            "429" => !open || takes_body,
            "507" => writes,
            _ => true,
        };
        if may {
            route.responses.responses.entry(status.to_owned()).or_insert_with(|| RefOr::Ref(Ref::from_response_name(name)));
        }
    }
}

fn idempotency_key() -> utoipa::openapi::path::Parameter {
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("Makes a repeated request the same one, for 24 hours: 1 to 128 visible ASCII characters."))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(128))))
        .build()
}
