//! What the API says of itself: from the handlers, and what holds for all of them added in one place.

use crate::routes;
use chainpool_api::{
    ClusterState, Event, HealthState, HostState, LeaseState, Noun, Operation, OperationKind, OperationState,
    Platform, Problem,
};
use utoipa::{
    OpenApi as _,
    openapi::{
        Content, OpenApi, Ref, RefOr, Required, ResponseBuilder, Server,
        path::{Operation as Route, ParameterBuilder, ParameterIn, PathItem},
        schema::{ArrayItems, ObjectBuilder, Schema, SchemaType, Type},
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
    (
        "400",
        "Invalid",
        "Something in the request is wrong; `fields` names it.",
    ),
    (
        "401",
        "Unauthenticated",
        "Nobody knows who asks: send `Authorization: Bearer …`.",
    ),
    (
        "404",
        "NotFound",
        "There is no such thing, or it is not the caller's.",
    ),
    (
        "413",
        "TooLarge",
        "The body is larger than 1 MiB, or than 8 KiB where nobody needs to be signed in.",
    ),
    (
        "422",
        "KeyReused",
        "The idempotency key was used for another request.",
    ),
    (
        "429",
        "TooMany",
        "Too many requests; `Retry-After` says when to try again.",
    ),
    (
        "500",
        "Internal",
        "Our fault; the server's log has the cause under `request_id`.",
    ),
    (
        "503",
        "Unavailable",
        "A platform that is needed does not answer, or the answer took too long.",
    ),
    (
        "507",
        "StorageFull",
        "The server's disk is full; nothing was changed.",
    ),
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
    let mut text = openapi
        .to_pretty_json()
        .expect("the description has text keys only");
    text.push('\n');
    text
}

/// Adds what holds for all routes.
fn finish(openapi: &mut OpenApi) {
    openapi.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new())]);
    let components = openapi.components.get_or_insert_default();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The token of a session or of a program."))
        .build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    for (_, name, about) in REFUSALS {
        let content = Content::new(Some(RefOr::<Schema>::Ref(Ref::from_schema_name("Problem"))));
        let response = ResponseBuilder::new()
            .description(about)
            .content("application/json", content)
            .build();
        components.responses.insert(name.to_owned(), response.into());
    }
    for (path, item) in &mut openapi.paths.paths {
        let PathItem {
            get,
            post,
            patch,
            delete,
            ..
        } = item;
        for (route, writes) in [(get, false), (post, true), (patch, true), (delete, true)] {
            if let Some(route) = route {
                complete(path, route, writes);
            }
        }
    }
    items_by_name(openapi);
    pairs(openapi);
    other_names(openapi);
    optional_bodies(openapi);
}

/// Says which bodies may be left out: those whose fields may all be.
fn optional_bodies(openapi: &mut OpenApi) {
    let schemas = openapi
        .components
        .iter()
        .flat_map(|components| &components.schemas);
    let optional = schemas
        .filter(|(_, schema)| matches!(schema, RefOr::T(Schema::Object(noun)) if noun.required.is_empty()));
    let optional: Vec<RefOr<Schema>> = optional
        .map(|(name, _)| Ref::from_schema_name(name).into())
        .collect();
    for PathItem {
        get,
        post,
        patch,
        delete,
        ..
    } in openapi.paths.paths.values_mut()
    {
        let routes = [get, post, patch, delete].into_iter().flatten();
        for body in routes.filter_map(|route| route.request_body.as_mut()) {
            if let RefOr::T(body) = body
                && body
                    .content
                    .values()
                    .all(|content| matches!(content, RefOr::T(Content { schema: Some(schema), .. }) if optional.contains(schema)))
            {
                body.required = Some(Required::False);
            }
        }
    }
}

/// Describes pairs as lists of two. Generators stumble over `prefixItems`, which only tells more where the two differ.
fn pairs(openapi: &mut OpenApi) {
    let Some(components) = openapi.components.as_mut() else {
        return;
    };
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::Object(noun)) = schema else {
            continue;
        };
        for property in noun.properties.values_mut() {
            if let RefOr::T(Schema::Array(pair)) = property
                && let Some(first) = pair.prefix_items.first().cloned()
            {
                let length = Some(pair.prefix_items.len());
                (pair.items, pair.min_items, pair.max_items) =
                    (ArrayItems::RefOrSchema(Box::new(first.into())), length, length);
                pair.prefix_items.clear();
            }
        }
    }
}

/// Has pages name what they hold. utoipa writes it out there once more, and a generated client would have each noun twice.
fn items_by_name(openapi: &mut OpenApi) {
    let Some(components) = openapi.components.as_mut() else {
        return;
    };
    for (name, schema) in &mut components.schemas {
        let Some(noun) = name.strip_prefix("Page_") else {
            continue;
        };
        if let RefOr::T(Schema::Object(page)) = schema
            && let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items")
        {
            items.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(noun).into()));
        }
    }
}

/// Adds `type` where `network_type` has it as another name, which utoipa does not tell.
fn other_names(openapi: &mut OpenApi) {
    let about = "Another name for `network_type`; give one of the two.";
    let text = || ObjectBuilder::new().schema_type(Type::String);
    if let Some(RefOr::T(Schema::Object(create))) = openapi
        .components
        .as_mut()
        .and_then(|known| known.schemas.get_mut("ClusterCreate"))
    {
        let name = text()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some(about));
        create.properties.insert("type".to_owned(), name.into());
    }
    if let Some(list) = openapi
        .paths
        .paths
        .get_mut("/api/v1/clusters")
        .and_then(|item| item.get.as_mut())
    {
        let name = ParameterBuilder::new()
            .name("type")
            .parameter_in(ParameterIn::Query)
            .required(Required::False);
        let name = name.description(Some(about)).schema(Some(text())).build();
        list.parameters.get_or_insert_default().push(name.into());
    }
}

/// Adds the refusals that follow from how a route is made, and the key that makes a repeated request the same.
fn complete(path: &str, route: &mut Route, writes: bool) {
    if path == "/healthz" {
        return;
    }
    let open = route.security.is_some();
    // The façade remembers the requests that begin something; the others change nothing when they come twice.
    let begins = route
        .operation_id
        .as_deref()
        .is_some_and(|id| ["host_create", "lease_apply", "lease_release"].contains(&id));
    let keyed = begins || route.responses.responses.contains_key("202");
    if keyed {
        route
            .parameters
            .get_or_insert_default()
            .push(idempotency_key().into());
    }
    let takes_body = route.request_body.is_some();
    let parameters = route.parameters.iter().flatten();
    let asks =
        parameters.filter(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in != ParameterIn::Path)).count() > 0;
    for (status, name, _) in REFUSALS {
        let may = match status {
            // Whatever writes also reads the idempotency key, and refuses one that is none.
            "400" => takes_body || asks || (writes && !open),
            "401" => !open,
            "404" => path.contains('{'),
            "413" => takes_body,
            "422" => keyed,
            "429" => !open || takes_body,
            "507" => writes,
            _ => true,
        };
        if may {
            route
                .responses
                .responses
                .entry(status.to_owned())
                .or_insert_with(|| RefOr::Ref(Ref::from_response_name(name)));
        }
    }
}

fn idempotency_key() -> utoipa::openapi::path::Parameter {
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Makes a repeated request the same one, for 24 hours: 1 to 128 visible ASCII characters.",
        ))
        .schema(Some(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^[!-~]{1,128}$")),
        ))
        .build()
}
